#include <algorithm>

#include "checked.h"
#include "kernels.h"
#include "lock_hooks.h"
#include "slab_allocators.h"

namespace nestlock::test_support {
namespace {

// What the kernel did until alloc_flags: a call whose gfp lacks the bits is taken for a nolock one.
// In early boot that is every call.
template <Kernel K>
struct DecidesByGfp : policy::PerLockByte<K> {
  static bool may_spin(gfp flags, bool) noexcept { return has(flags & allowed, gfp::wake); }
  static inline gfp allowed = kGfpAll;
};

template <Kernel K, LockPolicy L>
class SlabsOf final : public AnySlabs {
  using Pages = BasicPageAllocator<K, L>;
  using Slabs = BasicSlabAllocator<K, L>;
  using Cache = BasicKmemCache<K, L>;
  using PlaceHere = typename Slabs::Place;

  static PlaceHere place(Place where) {
    if constexpr (K::kConfig.debug)
      return where;
    else
      return {};
  }
  static CheckedCall<Cache> in(AnyCache* c) {
    return CheckedCall<Cache>(reinterpret_cast<Cache*>(c));
  }
  static AnyCache* out(Cache* c) { return reinterpret_cast<AnyCache*>(c); }

 public:
  bool set_up(const PageMemory& memory) override {
    slabs_.emplace();
    pages_.emplace();
    set_allowed(kGfpAll);
    return pages_->set_up(memory) == PageSetup::ok && slabs_->set_up(*pages_);
  }
  void* kmalloc(std::size_t size, gfp flags, Place where) override {
    return passed_on(slabs_->kmalloc(size, flags, place(where)));
  }
  void* kmalloc_nolock(std::size_t size, gfp flags, int node, SlabRefusal* why,
                       Place where) override {
    return passed_on(slabs_->kmalloc_nolock(size, flags, node, why, place(where)));
  }
  bool kfree(void* p, Place where) override { return slabs_->kfree(taken_over(p), place(where)); }
  bool kfree_nolock(void* p, Place where) override {
    return slabs_->kfree_nolock(taken_over(p), place(where));
  }
  void kfree_bulk(std::size_t n, void** objects) override {
    std::for_each_n(objects, n, taken_over);
    slabs_->kfree_bulk(n, objects);
  }
  std::size_t ksize(const void* p) override { return slabs_->ksize(p); }
  void* zero_size() const override { return Slabs::kZeroSize; }

  AnyCache* kmalloc_cache(unsigned i) override { return out(&slabs_->kmalloc_cache(i)); }
  AnyCache* create(const char* name, std::size_t size, slab flags) override {
    AnyCache* const c = out(slabs_->create(name, size, 0, flags));
    hosted::tsan_blocks_change();  // before any handler that uses it
    return c;
  }
  bool destroy(AnyCache* c) override {
    hosted::tsan_blocks_change();  // and after them
    return slabs_->destroy(reinterpret_cast<Cache*>(c));
  }
  void* alloc(AnyCache* c, gfp flags, int node, Place where) override {
    return passed_on(in(c)->alloc(flags, node, place(where)));
  }
  void* alloc_nolock(AnyCache* c, gfp flags, int node, SlabRefusal* why, Place where) override {
    return passed_on(in(c)->alloc_nolock(flags, node, why, place(where)));
  }
  bool free(AnyCache* c, void* p, Place where) override {
    return in(c)->free(taken_over(p), place(where));
  }
  bool free_nolock(AnyCache* c, void* p, Place where) override {
    return in(c)->free_nolock(taken_over(p), place(where));
  }
  std::size_t alloc_bulk(AnyCache* c, gfp flags, std::size_t n, void** objects) override {
    const std::size_t got = in(c)->alloc_bulk(flags, n, objects);
    std::for_each_n(objects, got, passed_on);
    return got;
  }
  void free_bulk(AnyCache* c, std::size_t n, void** objects) override {
    std::for_each_n(objects, n, taken_over);
    in(c)->free_bulk(n, objects);
  }
  AnySheaf* prefill(AnyCache* c, gfp flags, unsigned n) override {
    return reinterpret_cast<AnySheaf*>(in(c)->prefill_sheaf(flags, n));
  }
  void* alloc_from(AnyCache* c, AnySheaf* s) override {
    return passed_on(
        in(c)->alloc_from_sheaf(reinterpret_cast<typename Cache::Sheaf*>(s), gfp::none));
  }
  void give_back(AnyCache* c, AnySheaf* s) override {
    in(c)->return_sheaf(reinterpret_cast<typename Cache::Sheaf*>(s));
  }
  void shrink(AnyCache* c) override { in(c)->shrink(); }
  void flush_cpu() override { slabs_->flush_cpu(); }
  void fail_every(AnyCache* c, std::uint32_t k) override { in(c)->fail_every(k); }

  SlabStats stats(AnyCache* c) const override { return in(c)->stats(); }
  bool has_lock(AnyCache* c, const void* lock) const override {
    const auto at = reinterpret_cast<std::uintptr_t>(lock) - reinterpret_cast<std::uintptr_t>(c);
    return at < sizeof(Cache);
  }
  std::uintptr_t live(AnyCache* c) override {
    std::uintptr_t n = 0;  // in quiet, as consistent()
    return reinterpret_cast<Cache*>(c)->consistent(&n) ? n : ~std::uintptr_t{0};
  }
  bool consistent() override { return (*slabs_).consistent() && (*pages_).consistent(); }
  Floor interrupted() const override { return slabs_->interrupted(); }
  std::size_t slabinfo(char* text, std::size_t size) override {
    return slabs_->slabinfo(text, size);
  }

  PageStats page_stats(unsigned node) const override { return pages_->stats(node); }
  unsigned node_of(const void* p) const override { return pages_->page_of(p)->zone(); }
  void set_allowed(gfp mask) override {
    pages_->set_allowed(mask);
    if constexpr (requires { L::allowed; }) L::allowed = mask;
  }
  void fail_pages_every(std::uint32_t k) override { pages_->fail_every(k); }
  void drain_pages() override { pages_->drain_all_pages(); }

 private:
  CheckedOptional<Pages> pages_;
  CheckedOptional<Slabs> slabs_;
};

template <Kernel K, template <class> class Policy>
SlabCase observed() {
  using Observed = KernelOf<K::kConfig, typename K::Port, Hooked>;
  return {K::kConfig, []() -> std::unique_ptr<AnySlabs> {
            return std::make_unique<SlabsOf<Observed, Policy<Observed>>>();
          }};
}

}  // namespace

std::vector<SlabCase> observed_slabs() {
  std::vector<SlabCase> all;
  for_each_kernel([&]<class K>() { all.push_back(observed<K, policy::PerLockByte>()); },
                  AllKernels{});
  return all;
}

std::vector<SlabCase> slabs_deciding_by_gfp() {
  return {observed<HostedKernel<configs::up>, DecidesByGfp>(),
          observed<HostedKernel<configs::smp>, DecidesByGfp>()};
}

}  // namespace nestlock::test_support
