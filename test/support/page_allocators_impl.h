// The one implementation of AnyPages, a template. For page_allocators*.cc only.
#pragma once

#include "checked.h"
#include "page_allocators.h"

namespace nestlock::test_support {

// A policy whose gate a test can shut.
inline bool gate_shut = false;
template <LockPolicy L>
struct Gated : L {
  static bool may_try() noexcept { return !gate_shut && L::may_try(); }
};

template <Kernel K, LockPolicy L>
class PagesOf final : public AnyPages {
  using Allocator = BasicPageAllocator<K, Gated<L>>;
  using PlaceHere = typename Allocator::Place;

  static PlaceHere place(Place where) {
    if constexpr (K::kConfig.debug)
      return where;
    else
      return {};
  }
  void* address(BasicPage<K>* p) const { return p ? a_->address(p) : nullptr; }

 public:
  PagesOf() { a_.emplace(); }
  void renew() override { a_.emplace(); }

  PageSetup set_up(const PageMemory& memory) override { return a_->set_up(memory); }
  void* alloc(gfp flags, unsigned order, int node, Place where) override {
    return passed_on(address(a_->alloc_pages(flags, order, node, place(where))));
  }
  void* alloc_nolock(gfp flags, unsigned order, int node, PageRefusal* why, Place where) override {
    return passed_on(address(a_->alloc_pages_nolock(flags, order, node, why, place(where))));
  }
  bool free(void* at, unsigned order, Place where) override {
    return a_->free_pages(a_->page_of(taken_over(at)), order, place(where));
  }
  bool free_nolock(void* at, unsigned order, Place where) override {
    return a_->free_pages_nolock(a_->page_of(taken_over(at)), order, place(where));
  }
  bool park(void* at, unsigned order) override {
    gate_shut = true;
    const bool taken = a_->free_pages_nolock(a_->page_of(taken_over(at)), order);
    gate_shut = false;
    return taken;
  }
  bool free_at(void* at, unsigned order) override { return a_->free_at(taken_over(at), order); }
  bool free_descriptor(std::ptrdiff_t index, unsigned order) override {
    // Past the array on purpose: by number, not by pointer arithmetic on it.
    const auto first = reinterpret_cast<std::uintptr_t>(a_->descriptors());
    return a_->free_pages(
        reinterpret_cast<BasicPage<K>*>(first + static_cast<std::uintptr_t>(index) * kDescriptor),
        order);
  }

  bool managed(const void* at) const override {
    const auto* const p = a_->page_of(at);
    return p && reinterpret_cast<std::uintptr_t>(a_->address(p)) ==
                    (reinterpret_cast<std::uintptr_t>(at) & ~(kPageSize - 1));
  }
  void* head_of(void* at) override { return address(a_->head_of(a_->page_of(at))); }
  PageState state(void* at) const override { return a_->page_of(at)->state(); }
  std::uintptr_t pages() const override { return a_->pages(); }
  void* page(std::uintptr_t index) override {
    return a_->address(a_->page_at(static_cast<std::uint32_t>(index)));
  }
  std::size_t descriptor_bytes(std::size_t size) const override {
    return Allocator::descriptor_bytes(size);
  }

  void drain_cpu(unsigned cpu) override { a_->drain_cpu(cpu); }
  void drain_all() override { a_->drain_all_pages(); }
  void trim() override { a_->trim(); }
  void unpark_all() override { a_->unpark_all(); }
  bool reserve(std::size_t bytes) override { return a_->reserve(bytes); }
  void isolate(void* at, bool isolated) override { a_->isolate_block(a_->page_of(at), isolated); }
  void pcp_disable(unsigned node) override { a_->pcp_disable(node); }
  void pcp_enable(unsigned node) override { a_->pcp_enable(node); }
  void set_allowed(gfp mask) override { a_->set_allowed(mask); }
  void fail_every(std::uint32_t k, std::uint32_t orders) override { a_->fail_every(k, orders); }

  PageStats stats(unsigned node) const override { return a_->stats(node); }
  std::uint32_t cached(unsigned node, unsigned cpu) const override { return a_->cached(node, cpu); }
  std::size_t buddyinfo(char* out, std::size_t size) const override {
    return a_->buddyinfo(out, size);
  }
  std::size_t zoneinfo(char* out, std::size_t size) const override {
    return a_->zoneinfo(out, size);
  }
  // In quiet, so says who calls it.
  bool consistent() override { return (*a_).consistent(); }
  bool zone_locked(unsigned node) const override { return a_->zone_locked(node); }
  unsigned cpu_id() const override { return K::Port::cpu_id(); }

 private:
  static constexpr std::uintptr_t kDescriptor = sizeof(BasicPage<K>);
  CheckedOptional<Allocator> a_;
};

template <Kernel K, LockPolicy L = policy::PerLockByte<K>>
inline constexpr PagesCase kPages{K::kConfig, L::kName, []() -> std::unique_ptr<AnyPages> {
                                    return std::make_unique<PagesOf<K, L>>();
                                  }};

}  // namespace nestlock::test_support
