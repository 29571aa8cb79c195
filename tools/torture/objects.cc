// The slab allocator. Every object is full of its owner's tag, which is verified before the object
// is freed: one that is given twice, or written to while it is free, is found there. The tag is
// plain memory: ThreadSanitizer sees who may write it when.
#include <sys/mman.h>

#include <cstdio>

#include "nestlock/slab.h"
#include "tools/torture/busted.h"
#include "tools/torture/storm.h"

namespace nestlock::torture {
namespace {

constexpr std::size_t kBytes = std::size_t{64} << 20;
constexpr unsigned kLeft = 6;  // objects of a thread's own cache, for what interrupts it
constexpr std::size_t kLargest = 16384;

template <LockPolicy L>
class Objects final : public Subject {
  using Slabs = BasicSlabAllocator<K, L>;
  using Cache = typename Slabs::Cache;
  using Word = std::uint64_t;

 public:
  explicit Objects(const Options&) {
    void* const memory =
        mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || pages_.set_up({.start = memory, .size = kBytes}) != PageSetup::ok ||
        !slabs_.set_up(pages_))
      trouble("set_up() failed");
    offline_.subject = this;
    hosted::on_cpu_offline(offline_.hook);
  }
  const char* name() const override { return L::kName; }

  void step(Caller& c) noexcept override {
    switch (c.random(256)) {
      case 0:
        return slabs_.kmalloc_cache(c.random(Slabs::kClasses)).shrink();
      case 1:
        return c.random(8) == 0 ? slabs_.flush_cpu() : void();
      case 2:
        return own_cache(c);
      case 3:
      case 4:
      case 5:
      case 6:
        return hand_over(c);
      default:
        break;
    }
    Word*& o = kept(c);
    if (o) return give(c, o, c.random(4) == 0);
    constexpr gfp kFlags[] = {gfp::nowait, gfp::atomic, gfp::kernel, gfp::nowait | gfp::zero};
    const gfp flags = kFlags[c.random(4)];
    const std::size_t size = size_of(c);
    take(c, o, c.random(4) ? slabs_.kmalloc(size, flags) : nolock(size, flags & gfp::zero), size,
         has(flags, gfp::zero));
  }

  void nested(Caller& c) noexcept override {
    free_one_left(c);
    for (unsigned turns = 1 + c.random(2); turns > 0; --turns) {
      if (c.random(16) == 0) hand_over(c);
      Word*& o = kept(c);
      if (o) {
        give(c, o, /*by_nolock=*/true);
      } else {
        const std::size_t size = size_of(c);
        take(c, o, nolock(size, gfp::none), size, false);
      }
    }
  }

  void check(bool last) override {
    Caller me;
    std::uintptr_t live = 0;
    auto look_at = [&](Word* o) { live += o && size_in(*o) <= kMaxKmalloc; };
    for (auto& levels : kept_)
      for (auto& objects : levels)
        for (Word*& o : objects) {
          if (last && o) give(me, o, false);
          look_at(o);
        }
    for (auto& h : handovers_) {
      Word* o = h.load();
      if (last && o) {
        h = nullptr;
        give(me, o, false);
      }
      look_at(o);
    }
    std::uintptr_t out = 0, slabs_left = 0;
    if (last) slabs_.flush_cpu();
    for (unsigned i = 0; i < Slabs::kClasses; ++i) {
      Cache& cache = slabs_.kmalloc_cache(i);
      if (last) cache.shrink();
      std::uintptr_t objects = 0;
      if (!cache.consistent(&objects)) trouble("%s: lists and counts do not agree", cache.name());
      out += objects;
      slabs_left += cache.stats().slabs;
    }
    if (out != live) trouble("of %zu objects in use the caches know %zu", live, out);
    if (last && slabs_left) trouble("%zu slabs did not come home", slabs_left);
    if (!slabs_.consistent()) trouble("the sheaves' caches do not agree");
    if (!pages_.consistent()) trouble("the pages do not agree");
  }

  void print_statistics() const override {
    SlabStats all{};
    auto* const to = reinterpret_cast<std::uintptr_t*>(&all);
    for (unsigned i = 0; i < Slabs::kClasses; ++i) {
      const SlabStats s = const_cast<Slabs&>(slabs_).kmalloc_cache(i).stats();
      const auto* const from = reinterpret_cast<const std::uintptr_t*>(&s);
      for (std::size_t k = 0; k < sizeof s / sizeof *to; ++k) to[k] += from[k];
    }
    std::printf(
        "  objects: %zu by a sheaf, %zu by a list; %zu refills, %zu flushes, %zu slabs, %zu "
        "orphans, "
        "%zu deferred, %llu caches created and destroyed\n  refused:",
        all.fast_allocs, all.list_allocs, all.refills, all.flushes, all.new_slabs, all.orphans,
        all.deferred, static_cast<unsigned long long>(caches_.load()));
    for (unsigned i = 1; i < kSlabRefusals; ++i)
      if (all.refusals[i])
        std::printf(" %zu %s;", all.refusals[i], nestlock::name_of(static_cast<SlabRefusal>(i)));
    std::printf("\n");
  }

 private:
  // A cache of this thread's alone, and objects of it that what interrupts the thread may free.
  // What is stored is ready, what is taken is whole, and who destroys it is behind its users, as a
  // program has to see to: release, acquire, and `freed`, by which the task knows of them.
  struct Left {
    std::atomic<Cache*> cache{nullptr};
    std::atomic<void*> objects[kLeft] = {};
    std::atomic<unsigned> freed{0};
  };

  Word*& kept(Caller& c) {
    return kept_[c.thread][static_cast<unsigned>(c.level)][c.random(kKept)];
  }
  // Mostly small, some of whole pages.
  static std::size_t size_of(Caller& c) noexcept {
    const std::uint32_t most = c.random(64) == 0 ? kLargest : 8u << c.random(9);
    return 8 + c.random(most - 7);
  }
  void* nolock(std::size_t size, gfp flags) noexcept {
    return size <= kMaxKmalloc ? slabs_.kmalloc_nolock(size, flags) : nullptr;
  }

  // Created, used, destroyed: also while frees of it are deferred, and beside others' caches.
  void own_cache(Caller& c) noexcept {
    const std::size_t size = size_of(c) % 2048 + 8;
    Cache* const cache = slabs_.create("torture", size, 0, c.random(4) ? slab::none : slab::debug);
    if (!cache) return;
    Left& left = left_[c.thread];
    std::size_t n = 0;
    for (auto& o : left.objects) {
      void* const p = c.random(2) ? cache->alloc(gfp::nowait) : cache->alloc_nolock(gfp::none);
      n += p != nullptr;
      o.store(p, std::memory_order_release);
    }
    left.cache.store(cache, std::memory_order_release);
    for (unsigned i = 0; i < 32; ++i)
      if (void* const p = cache->alloc(gfp::nowait)) cache->free(p);
    left.cache.store(nullptr, std::memory_order_relaxed);
    left.freed.fetch_add(0, std::memory_order_acq_rel);  // nothing moves across: neither way
    for (auto& o : left.objects)
      if (void* const p = o.exchange(nullptr, std::memory_order_acquire)) cache->free_nolock(p);
    if (!slabs_.destroy(cache)) trouble("a cache of %zu objects is not empty", n);
    caches_.fetch_add(1, std::memory_order_relaxed);
  }

  void free_one_left(Caller& c) noexcept {
    Left& left = left_[c.thread];
    Cache* const cache = left.cache.load(std::memory_order_acquire);
    if (!cache || !c.random(2)) return;
    void* const o = left.objects[c.random(kLeft)].exchange(nullptr, std::memory_order_acquire);
    if (o) cache->free_nolock(o);
    left.freed.fetch_add(1, std::memory_order_release);
  }

  // The tag says who took the object, and how many bytes of it.
  static std::size_t size_in(Word tag) noexcept { return tag >> 8 & 0xffff; }
  // Its words: the first ones all, then one of each line and the last.
  template <class F>
  static void each_word(Word* o, std::size_t size, F f) noexcept {
    const std::size_t words = size / sizeof(Word);
    for (std::size_t i = 0; i < words; i += i < 8 ? 1 : 8) f(o[i]);
    if (words > 8) f(o[words - 1]);
  }

  void take(Caller& c, Word*& into, void* p, std::size_t size, bool zeroed) noexcept {
    if (!p) return;
    auto* const o = static_cast<Word*>(p);
    if (zeroed)
      each_word(o, size, [&](Word w) {
        if (w) trouble("%zu bytes at %p are not zeroed, by the %s", size, p, by(c));
      });
    const Word tag = ++tags_[c.thread][static_cast<unsigned>(c.level)] << 24 | size << 8 |
                     c.thread << 2 | static_cast<unsigned>(c.level);
    each_word(o, size, [&](Word& w) { w = tag; });
    into = o;
  }

  void give(Caller& c, Word*& from, bool by_nolock) noexcept {
    Word* const o = from;
    from = nullptr;
    const Word tag = *o;
    each_word(o, size_in(tag), [&](Word w) {
      if (w != tag)
        trouble(
            "%p (%zu bytes, of the %s of thread %u) was overwritten, found by the %s of thread %u",
            static_cast<void*>(o), size_in(tag),
            nestlock::torture::name_of(static_cast<Level>(tag & 3)),
            static_cast<unsigned>(tag >> 2 & 63), by(c), c.thread);
    });
    if (slabs_.ksize(o) < size_in(tag))
      trouble("%p was %zu bytes and is %zu, found by the %s of thread %u", static_cast<void*>(o),
              size_in(tag), slabs_.ksize(o), by(c), c.thread);
    each_word(o, size_in(tag), [](Word& w) { w = 0; });
    if (!(by_nolock ? slabs_.kfree_nolock(o) : slabs_.kfree(o)))
      trouble("%p was not taken back from the %s of thread %u", static_cast<void*>(o), by(c),
              c.thread);
  }

  // An object of ours for one that another thread or level left.
  void hand_over(Caller& c) noexcept {
    Word*& o = kept(c);
    // acq_rel: what is handed over is written before and read after.
    o = handovers_[c.random(kHandovers)].exchange(o, std::memory_order_acq_rel);
  }
  static const char* by(const Caller& c) { return nestlock::torture::name_of(c.level); }

  // A thread's exit takes its CPU's objects and pages home.
  struct Offline {
    hosted::OfflineHook hook{[](hosted::OfflineHook& h, unsigned cpu) noexcept {
                               Objects& o = *reinterpret_cast<Offline&>(h).subject;
                               o.slabs_.flush_cpu();
                               o.pages_.drain_cpu(cpu);
                             },
                             nullptr};
    Objects* subject = nullptr;
  };

  BasicPageAllocator<K, L> pages_;
  Slabs slabs_;
  Offline offline_;
  Word* kept_[kMaxThreads][kLevels][kKept] = {};
  Word tags_[kMaxThreads][kLevels] = {};
  Left left_[kMaxThreads];
  std::atomic<Word*> handovers_[kHandovers] = {};
  std::atomic<std::uint64_t> caches_{0};
};

}  // namespace

std::unique_ptr<Subject> objects(const Options& o) {
  if (o.busted) return std::make_unique<Objects<Busted<K>>>(o);
  return std::make_unique<Objects<policy::PerLockByte<K>>>(o);
}

}  // namespace nestlock::torture
