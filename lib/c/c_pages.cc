// The C face of the page floor.
#include "face.h"
#include "nestlock/c/pages.h"
#include "nestlock/system_pages.h"

using nestlock::gfp;
using nestlock::Page;
using nestlock::system_pages;

static_assert(NESTLOCK_PAGE_SIZE == nestlock::kPageSize);
static_assert(NESTLOCK_ANY_NODE == nestlock::kAnyNode);

namespace {

constexpr bool same(nestlock_gfp_t c, gfp cxx) noexcept { return gfp{c} == cxx; }
static_assert(same(NESTLOCK_GFP_NONE, gfp::none) && same(NESTLOCK_GFP_WAKE, gfp::wake) &&
              same(NESTLOCK_GFP_RECLAIM, gfp::reclaim) && same(NESTLOCK_GFP_HIGH, gfp::high) &&
              same(NESTLOCK_GFP_MEMALLOC, gfp::memalloc) && same(NESTLOCK_GFP_ZERO, gfp::zero) &&
              same(NESTLOCK_GFP_NOWARN, gfp::nowarn) && same(NESTLOCK_GFP_COMP, gfp::comp) &&
              same(NESTLOCK_GFP_THISNODE, gfp::thisnode) && same(NESTLOCK_GFP_IDLE, gfp::idle) &&
              same(NESTLOCK_GFP_KERNEL, gfp::kernel) && same(NESTLOCK_GFP_NOWAIT, gfp::nowait) &&
              same(NESTLOCK_GFP_ATOMIC, gfp::atomic));

// The C type is a name without a definition: a page's descriptor under another name.
Page* page(nestlock_page_t* p) noexcept { return reinterpret_cast<Page*>(p); }
const Page* page(const nestlock_page_t* p) noexcept { return reinterpret_cast<const Page*>(p); }
nestlock_page_t* page(Page* p) noexcept { return reinterpret_cast<nestlock_page_t*>(p); }

}  // namespace

nestlock_page_t* nestlock_alloc_pages(nestlock_gfp_t flags,
                                      unsigned order NESTLOCK_PLACE) noexcept {
  return page(system_pages().alloc_pages(gfp{flags}, order, nestlock::kAnyNode, NESTLOCK_WHERE));
}
nestlock_page_t* nestlock_alloc_pages_node(int node, nestlock_gfp_t flags,
                                           unsigned order NESTLOCK_PLACE) noexcept {
  return page(system_pages().alloc_pages(gfp{flags}, order, node, NESTLOCK_WHERE));
}
bool nestlock_free_pages(nestlock_page_t* p, unsigned order NESTLOCK_PLACE) noexcept {
  return system_pages().free_pages(page(p), order, NESTLOCK_WHERE);
}
nestlock_page_t* nestlock_alloc_pages_nolock(nestlock_gfp_t flags, int node,
                                             unsigned order NESTLOCK_PLACE) noexcept {
  return page(system_pages().alloc_pages_nolock(gfp{flags}, order, node, nullptr, NESTLOCK_WHERE));
}
bool nestlock_free_pages_nolock(nestlock_page_t* p, unsigned order NESTLOCK_PLACE) noexcept {
  return system_pages().free_pages_nolock(page(p), order, NESTLOCK_WHERE);
}
void* nestlock_page_address(const nestlock_page_t* p) noexcept {
  return system_pages().address(page(p));
}
nestlock_page_t* nestlock_virt_to_page(const void* address) noexcept {
  return page(system_pages().page_of(address));
}
// The lean form has neither.
bool nestlock_page_reserve(std::size_t bytes) noexcept {
  const auto reserve = [bytes](auto& pages) {
    if constexpr (requires { pages.reserve(bytes); }) return pages.reserve(bytes);
    return bytes == 0;
  };
  return reserve(system_pages());
}
std::size_t nestlock_page_trim() noexcept {
  const auto trim = [](auto& pages) -> std::size_t {
    if constexpr (requires { pages.trim(); }) return pages.trim();
    return 0;
  };
  return trim(system_pages());
}
