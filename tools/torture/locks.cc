// The locks, one kind a subject. Each site is a lock, an owner word and a counter kept three times
// in plain memory: two owners are found by the word, by counters that differ, by a sum that is
// short (and by ThreadSanitizer). What try_lock() answers is judged wherever the answer is known: a
// lock that this thread holds or does not hold, whatever interrupted it.
#include <cstdio>

#include "nestlock/lock/contexts.h"
#include "nestlock/nestlock.h"
#include "tools/torture/busted.h"
#include "tools/torture/storm.h"

namespace nestlock::torture {
namespace {

using contexts::Answer;
using contexts::Call;

// Of each kind: two for all threads and levels; one that irqs may lock(), since whoever else uses
// it masks them; and one of each thread's own, where no other thread can be the holder. The locks
// that belong to a CPU have the last two, and both are the thread's own.
enum Spot : unsigned { kShared, kAlsoShared, kMasked, kOwn, kSpots };

// What has to see it: all there is; or one alone, on locks that exclude nobody.
enum class Watch : std::uint8_t { all, owner, data, answers };
constexpr bool watches(Watch w, Watch what) { return w == Watch::all || w == what; }

// What this thread knows of a lock. Half taken, or half given back, is anybody's guess.
enum State : std::uint8_t { kFree, kHalf, kHeld };

struct Tally {
  std::uint64_t by_lock, by_try, refused;    // sections, and tries that found it held
  std::uint64_t held_refused, free_granted;  // answers that were known before
  std::uint64_t gate, irq_locks;             // of PREEMPT_RT; lock() by an irq
  void operator+=(const Tally& o) {
    by_lock += o.by_lock, by_try += o.by_try, refused += o.refused;
    held_refused += o.held_refused, free_granted += o.free_granted;
    gate += o.gate, irq_locks += o.irq_locks;
  }
};

template <class L, bool kOfACpu, Watch kWatch>
class Locks final : public Subject {
  static constexpr LockType kType = L::kLockType;
  static constexpr bool kSmp = kBuiltConfig.smp;
  static constexpr unsigned kFirst = kOfACpu ? kMasked : kShared;
  static constexpr bool kHasLock = kType != LockType::shared_try_spin;
  static constexpr bool kHasTry = kType != LockType::local;
  static constexpr bool kOneForAll = kType == LockType::shared_try_spin && !kSmp && !L::kSleeps;
  // On one CPU a plain lock promises nothing to what interrupts its holder: not asked there then.
  static constexpr bool kAsked = kHasTry && (contexts::promised(kType) || kSmp || L::kSleeps);

  // A lock that promises nothing leaves it to its users when it is taken: by what they know of it
  // an interrupt then knows that it is free, and what it interrupted, what it did. Of the others
  // nothing but the lock itself may order the data.
  static constexpr std::memory_order kKnow =
      kAsked ? std::memory_order_relaxed : std::memory_order_acquire;
  static constexpr std::memory_order kTell =
      kAsked ? std::memory_order_relaxed : std::memory_order_acq_rel;

  struct Site {
    L lock;
    K::Port::Atomic<std::uint32_t> owner{0}, turns{0};
    std::uint64_t a = 0, b = 0, c = 0;
  };
  struct alignas(64) Mine {  // of a thread
    std::atomic<std::uint8_t> state[kSpots] = {};
    std::uint64_t sections[kLevels][kSpots] = {};
    Tally tally[kLevels] = {};
  };

 public:
  explicit Locks(const Options& o) : threads_(o.threads) {
    // Of a broken lock a debug configuration's own checks would be the first to speak.
    if (kWatch != Watch::all) hosted::set_report_sink([](const Report&) noexcept {});
  }
  const char* name() const override {
    constexpr const char* alone[] = {"", "busted locks, by the owner word",
                                     "busted locks, by the data", "busted locks, by their answers"};
    return kWatch == Watch::all ? nestlock::name_of(kType) : alone[static_cast<unsigned>(kWatch)];
  }

  void step(Caller& c) noexcept override {
    const unsigned p = kFirst + c.random(kSpots - kFirst);
    const bool by_lock = kHasLock && (!kHasTry || c.random(4) != 0);
    switch (c.random(p == kMasked ? 2 : 4)) {
      case 0:
        return attempt(c, p, by_lock, irq_save);
      case 1:
        return attempt(c, p, by_lock, irq_disable);
      case 2:
        return attempt(c, p, by_lock, bh_disable);
      default:
        return attempt(c, p, by_lock, no_irq);
    }
  }

  void nested(Caller& c) noexcept override {
    for (unsigned turns = 1 + c.random(2); turns > 0; --turns) {
      const unsigned p = kFirst + c.random(kSpots - kFirst);
      const bool by_lock = kHasLock && (!kHasTry || c.random(3) == 0);
      if ((p == kMasked && c.level == Level::probe) || c.random(2))
        attempt(c, p, by_lock, irq_save);
      else
        attempt(c, p, by_lock, no_irq);
    }
  }

  void check(bool) override {
    for (unsigned p = kFirst; p < kSpots; ++p) {
      std::uint64_t done = 0, seen = 0;
      for (const Mine& m : mine_)
        for (const auto& sections : m.sections) done += sections[p];
      each_site(p, [&](Site& s) {
        if (s.lock.is_locked()) trouble("a %s is held by nobody", name());
        if (s.a != s.b || s.a != s.c) torn(s);
        seen += s.a;
      });
      if (watches(kWatch, Watch::data) && done != seen)
        trouble("of %llu sections %llu were counted", ull(done), ull(seen));
    }
  }

  bool all_hit() const override {
    const Tally t = sum();
    return (!kAsked || t.held_refused) && (!kHasTry || t.free_granted) &&
           (cell(Call::try_lock, Context::hardirq).free != Answer::refused || t.gate) &&
           (!cell(Call::lock, Context::hardirq).allowed || t.irq_locks);
  }

  void print_statistics() const override {
    const Tally t = sum();
    std::uint64_t most = 0, least = ~std::uint64_t{0};
    for (unsigned i = 0; i < threads_; ++i) {
      std::uint64_t n = 0;  // where it competes with others, if anywhere
      for (unsigned p = kFirst; p < (kOfACpu ? kSpots : kOwn); ++p) n += mine_[i].sections[0][p];
      most = std::max(most, n), least = std::min(least, n);
    }
    std::printf(
        "  sections: %llu by lock() (%llu an irq's), %llu by try_lock(), %llu tries found it held; "
        "a thread's most/least %llu/%llu\n",
        ull(t.by_lock), ull(t.irq_locks), ull(t.by_try), ull(t.refused), ull(most), ull(least));
    if (kHasTry)
      std::printf(
          "  answers that were known: %llu refused as held here, %llu granted as free, "
          "%llu refused at the gate\n",
          ull(t.held_refused), ull(t.free_granted), ull(t.gate));
  }

 private:
  static unsigned long long ull(std::uint64_t n) { return n; }
  static constexpr contexts::Cell cell(Call call, Context in) {
    return contexts::cell(kType, call, kBuiltConfig, in);
  }

  // Whether no other thread can hold it.
  static constexpr bool own(unsigned p) { return kOfACpu || !kSmp || p == kOwn; }
  static State known(const Mine& m, unsigned p) noexcept {
    if (!kOneForAll) return State{m.state[p].load(kKnow)};
    std::uint8_t most = kFree;
    for (const auto& s : m.state) most = std::max(most, s.load(kKnow));
    return State{most};
  }
  static void set(std::atomic<std::uint8_t>& to, std::uint8_t s) noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    to.exchange(s, kTell);  // for handlers of this thread alone
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }

  // One section, or nothing where the table or the way locks are nested here forbids it.
  template <class Tag>
  void attempt(Caller& c, unsigned p, bool by_lock, Tag tag) noexcept {
    Mine& m = mine_[c.thread];
    Tally& t = m.tally[static_cast<unsigned>(c.level)];
    const State before = known(m, p);
    const Context here = K::Port::context();
    if (by_lock) {
      if (!cell(Call::lock, here).allowed) return;
      // A probe comes also where the port itself has irqs off, and there nothing may sleep.
      if (kBuiltConfig.preempt_rt && kType != LockType::raw_spin && K::Port::irqs_disabled())
        return;
      // An irq waits for other CPUs only where all mask irqs, a probe for nobody.
      if (c.level != Level::task && !(c.level == Level::irq && p == kMasked) &&
          !(own(p) && before == kFree))
        return;
    } else if (!cell(Call::try_lock, here).allowed || (!kAsked && before != kFree)) {
      return;
    }
    std::atomic<std::uint8_t>& state = m.state[p];
    const std::uint8_t state_before = state.load(std::memory_order_relaxed);
    set(state, std::max<std::uint8_t>(state_before, kHalf));
    const bool got = use(c, p, by_lock, tag);
    set(state, state_before);
    if (by_lock) {
      ++t.by_lock;
      t.irq_locks += c.level == Level::irq;
    } else {
      ++(got ? t.by_try : t.refused);
      judge(c, t, p, before, cell(Call::try_lock, here), got);
    }
  }

  void judge(Caller& c, Tally& t, unsigned p, State before, contexts::Cell cell,
             bool got) noexcept {
    if (!watches(kWatch, Watch::answers)) return;
    if (cell.free == Answer::refused) {
      if (got) trouble("%s: try_lock() passed the gate in the %s", name(), by(c));
      ++t.gate;
    } else if (before == kHeld && cell.held == Answer::refused) {
      if (got) trouble("%s: granted to the %s, and held by what it interrupted", name(), by(c));
      ++t.held_refused;
    } else if (before == kFree && own(p)) {
      if (!got) trouble("%s: refused to the %s, and held by nobody", name(), by(c));
      ++t.free_granted;
    }
  }

  template <class Tag>
  bool use(Caller& c, unsigned p, bool by_lock, Tag tag) noexcept {
    if constexpr (kOfACpu) {
      auto& all = p == kOwn ? of_cpu_ : masked_of_cpu_;
      if (by_lock) {
        auto here = all.template lock_here<&Site::lock>(tag);
        return section(c, p, *here);
      }
      if constexpr (kHasTry) {
        auto here = all.template try_lock_here<&Site::lock>(tag);
        return here && section(c, p, *here);
      }
    } else {
      Site& s = p == kOwn ? own_[c.thread] : shared_[p];
      if constexpr (kHasLock)
        if (by_lock) {
          Guard g(s.lock, tag);
          return section(c, p, s);
        }
      TryGuard g(s.lock, tag);
      return g && section(c, p, s);
    }
    return false;
  }

  bool section(Caller& c, unsigned p, Site& s) noexcept {
    Mine& m = mine_[c.thread];
    set(m.state[p], kHeld);
    const std::uint32_t me = 1 + (c.thread << 2 | static_cast<unsigned>(c.level));
    // relaxed: two owners are found by the exchange, and nothing may order what the lock must.
    if (const std::uint32_t other = s.owner.exchange(me, std::memory_order_relaxed))
      two_owners(c, other);
    if (s.a != s.b || s.a != s.c) torn(s);
    const std::uint64_t n = s.a + 1;
    s.a = n;
    dwell(c, s);
    s.b = n;
    dwell(c, s);
    s.c = n;
    if (s.a != n || s.b != n) torn(s);
    if (s.owner.exchange(0, std::memory_order_relaxed) != me) two_owners(c, 0);
    ++m.sections[static_cast<unsigned>(c.level)][p];
    set(m.state[p], kHalf);
    return true;
  }
  // Accesses at which the storm may come.
  static void dwell(Caller& c, Site& s) noexcept {
    for (unsigned i = c.random(6); i > 0; --i) s.turns.fetch_add(1, std::memory_order_relaxed);
  }

  void two_owners(Caller& c, std::uint32_t other) const noexcept {
    if (!watches(kWatch, Watch::owner)) return;
    if (!other) trouble("%s: another held it beside the %s of thread %u", name(), by(c), c.thread);
    trouble("%s: held by the %s of thread %u and by the %s of thread %u", name(), by(c), c.thread,
            nestlock::torture::name_of(static_cast<Level>((other - 1) & 3)), (other - 1) >> 2);
  }
  void torn(const Site& s) const noexcept {
    if (watches(kWatch, Watch::data))
      trouble("%s: its counter is %llu, %llu and %llu", name(), ull(s.a), ull(s.b), ull(s.c));
  }
  static const char* by(const Caller& c) { return nestlock::torture::name_of(c.level); }

  template <class F>
  void each_site(unsigned p, F f) {
    if constexpr (kOfACpu) {
      auto& all = p == kOwn ? of_cpu_ : masked_of_cpu_;
      for (unsigned cpu = 0; cpu < all.size(); ++cpu) f(all.on(cpu));
    } else if (p == kOwn) {
      for (Site& s : own_) f(s);
    } else {
      f(shared_[p]);
    }
  }
  Tally sum() const {
    Tally all{};
    for (const Mine& m : mine_)
      for (const Tally& t : m.tally) all += t;
    return all;
  }

  const unsigned threads_;
  Mine mine_[kMaxThreads];
  Site shared_[kOwn];
  Site own_[kMaxThreads];
  BasicPerCpu<K, Site> of_cpu_, masked_of_cpu_;
};

template <class L, bool kOfACpu, Watch kWatch = Watch::all>
std::unique_ptr<Subject> make(const Options& o) {
  return std::make_unique<Locks<L, kOfACpu, kWatch>>(o);
}

constexpr Named kLocks[] = {
    {"locks", "RawSpinLock", make<BasicRawSpinLock<K>, false>},
    {"locks", "SpinLock", make<BasicSpinLock<K>, false>},
    {"locks", "TrySpinLock", make<BasicTrySpinLock<K>, false>},
    {"locks", "SharedTrySpinLock", make<BasicSharedTrySpinLock<K, struct Tortured>, false>},
    {"locks", "LocalLock", make<BasicLocalLock<K>, true>},
    {"locks", "LocalTryLock", make<BasicLocalTryLock<K>, true>},
};
constexpr Named kBusted[] = {
    {"locks", "owner", make<BustedLock<K>, false, Watch::owner>},
    {"locks", "data", make<BustedLock<K>, false, Watch::data>},
    {"locks", "answers", make<BustedLock<K>, true, Watch::answers>},
};

}  // namespace

std::span<const Named> locks(bool busted) {
  if (busted) return kBusted;
  return kLocks;
}

}  // namespace nestlock::torture
