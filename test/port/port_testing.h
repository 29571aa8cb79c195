// What the port's tests share: signals as irqs and nmis that keep a log, the state that every test
// must leave behind, findings as data.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/port/hosted.h"
#include "nestlock/signals.h"
#include "test/support/raw_signals.h"

namespace nestlock::port_testing {

using hosted::kRelaxed;
using hosted::self;

// What a test and its handlers share, and order by what they do: no mask is to be found missing.
template <class... T>
void leave_out(const T&... own) {
  (hosted::tsan_unchecked(&own, sizeof own), ...);
}

// ---- the kernel's view, past the C library and sanitizers ---------------------------------------

using test_support::Mask;
constexpr Mask bit(int signo) { return Mask{1} << (signo - 1); }

inline Mask real_mask(int how = SIG_BLOCK, Mask set = 0) {
  Mask old = 0;
  syscall(SYS_rt_sigprocmask, how, &set, &old, sizeof set);
  return old;
}

inline pid_t thread_id() { return static_cast<pid_t>(syscall(SYS_gettid)); }

// To one thread, with a value, as sigqueue() does. False: the kernel's queue is full.
inline bool queue_to(pid_t thread, int signo, int value) {
  siginfo_t info{};
  info.si_signo = signo;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = value;
  return syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, signo, &info) == 0;
}

// To the calling thread: arrives before this returns, unless the kernel blocks it.
inline void arrive(int signo, int value = 0) { queue_to(thread_id(), signo, value); }

using test_support::install_raw;
using test_support::installed;
using test_support::RawHandler;
// SIG_IGN, or a handler of the old kind (without SA_SIGINFO).
inline RawHandler old_kind(void (*handler)(int)) {
  return reinterpret_cast<RawHandler>(reinterpret_cast<void (*)()>(handler));
}

// What runs then is a probe to the library: nobody registered it, and it blocks nothing.
inline void install_probe(int signo, RawHandler handler) {
  ASSERT_TRUE(install_raw(signo, handler, SA_SIGINFO | SA_NODEFER | SA_RESTART, 0));
}

// The beginning of a file that the kernel has of `thread`; empty if it has none.
struct OfThread {
  char text[256]{};
  OfThread(pid_t thread, const char* file) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%d/%s", thread, file);
    const int fd = open(path, O_RDONLY);
    if (fd < 0) return;
    const ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    close(fd);
  }
};

// Whether `thread` sleeps in the kernel. Its state says so on its way there, too, and a thread that
// is preempted there may be on its way for long. `syscall` says "running" until it has left the
// processor, then the number of the call; where the kernel has no such file the state must do.
inline bool is_asleep(pid_t thread) {
  if (const OfThread call(thread, "syscall"); call.text[0])
    return call.text[0] >= '0' && call.text[0] <= '9';
  const OfThread stat(thread, "stat");
  const char* const text = stat.text;
  const char* const end = std::strrchr(text, ')');
  return end && end[2] == 'S';
}

// ---- the signals of these tests -----------------------------------------------------------------

inline int irq(int n) { return SIGRTMIN + n; }  // 0..3: irqs whose arrivals the kernel queues
inline int nmi() { return SIGRTMIN + 5; }
inline int probe() { return SIGRTMIN + 6; }  // a handler that nobody registered
inline constexpr int kPlainIrq = SIGUSR1;    // the kernel keeps one arrival of it
inline constexpr int kPlainNmi = SIGPROF;
inline Mask irq_class() {
  return bit(irq(0)) | bit(irq(1)) | bit(irq(2)) | bit(irq(3)) | bit(kPlainIrq);
}

// ---- the log ------------------------------------------------------------------------------------

struct Entry {
  int signo, value, code;
  Context context;
  bool in_section;  // between the test's own marks
};

// Written by handlers at any moment: an entry is reserved first.
class Log {
 public:
  void add(const Entry& e) {
    const unsigned at = size_.fetch_add(1, kRelaxed);
    if (at < kCapacity) entry_[at] = e;
  }
  unsigned size() const { return size_.load(kRelaxed); }
  const Entry& operator[](unsigned i) const { return entry_[i]; }
  void clear() { size_.store(0, kRelaxed); }

  // The values in the order of their handling: all, or of one signal.
  std::vector<int> values(int signo = 0) const {
    std::vector<int> v;
    for (unsigned i = 0; i < size() && i < kCapacity; ++i)
      if (!signo || entry_[i].signo == signo) v.push_back(entry_[i].value);
    return v;
  }

 private:
  static constexpr unsigned kCapacity = 1024;
  std::atomic<unsigned> size_{0};
  Entry entry_[kCapacity]{};
};
inline constinit Log irqs, nmis, softirqs;

// Set around code that no irq may see. Per thread: process-directed timers hit any.
inline constinit thread_local std::atomic<int> in_section [[gnu::tls_model("initial-exec")]]{0};

// What a handler does besides, set by a test.
using Extra = void (*)(int signo, siginfo_t* info, void* context);
inline constinit std::atomic<Extra> in_irq{nullptr}, in_nmi{nullptr};
inline constinit std::atomic<void (*)()> in_softirq[signals::kMaxSoftirqs]{};

inline void keep(Log& log, int signo, const siginfo_t* info) {
  log.add({signo, info->si_value.sival_int, info->si_code, hosted::context(),
           in_section.load(kRelaxed) != 0});
}
inline void on_irq(int signo, siginfo_t* info, void* context) {
  keep(irqs, signo, info);
  if (const Extra extra = in_irq.load(kRelaxed)) extra(signo, info, context);
  errno = 99;
}
inline void on_nmi(int signo, siginfo_t* info, void* context) {
  keep(nmis, signo, info);
  if (const Extra extra = in_nmi.load(kRelaxed)) extra(signo, info, context);
  errno = 98;
}
inline void on_softirq(unsigned nr) {
  softirqs.add({0, static_cast<int>(nr), 0, hosted::context(), in_section.load(kRelaxed) != 0});
  if (const auto extra = in_softirq[nr].load(kRelaxed)) extra();
  errno = 97;
}

// Once a process.
inline void register_all() {
  static const bool done = [] {
    bool ok = true;
    for (int s : {irq(0), irq(1), irq(2), irq(3), kPlainIrq})
      ok &= signals::register_irq(s, on_irq) == signals::Error::none;
    for (int s : {nmi(), kPlainNmi}) ok &= signals::register_nmi(s, on_nmi) == signals::Error::none;
    ok &= signals::register_softirq(0, [] { on_softirq(0); });
    ok &= signals::register_softirq(1, [] { on_softirq(1); });
    ok &= signals::register_softirq(2, [] { on_softirq(2); });
    return ok;
  }();
  ASSERT_TRUE(done);
  leave_out(irqs, nmis, softirqs);  // read when all has arrived
}

// ---- the state to find after each test ----------------------------------------------------------

// Why the port is not as in a task with everything on; empty if it is.
inline std::string not_quiet() {
  std::string why;
  auto zero = [&](const char* what, std::uint64_t v) {
    if (v) why += std::string(what) + " = " + std::to_string(v) + "; ";
  };
  zero("soft", self().soft.load(kRelaxed));
  zero("held", self().held.load(kRelaxed));
  zero("context", self().context.load(kRelaxed));
  zero("levels", self().levels.load(kRelaxed));
  zero("depth", self().depth.load(kRelaxed));
  zero("preempt", self().preempt.load(kRelaxed));
  zero("bh", self().bh.load(kRelaxed));
  zero("migrate", self().migrate.load(kRelaxed));
  zero("softirqs", self().softirqs.load(kRelaxed));
  zero("added", self().added.load(kRelaxed));
  zero("irqs really blocked", real_mask() & irq_class());
  return why;
}

// After a failure, so that the next test does not fail for it.
inline void quieten() {
  self().soft = self().held = self().context = self().levels = self().depth = 0;
  self().preempt = self().bh = self().migrate = self().softirqs = 0;
  self().added = 0;
  real_mask(SIG_UNBLOCK, irq_class());
}

// ---- findings -----------------------------------------------------------------------------------

// Collects what goes to the report sink while one of these lives.
class Findings {
 public:
  Findings() {
    count = 0;
    leave_out(kept);  // read when what reports is over
    before_ = hosted::set_report_sink(collect);
  }
  ~Findings() { hosted::set_report_sink(before_); }
  Findings(const Findings&) = delete;
  Findings& operator=(const Findings&) = delete;

  unsigned size() const { return count.load(); }
  void clear() { count = 0; }
  const Report& operator[](unsigned i) const { return kept[i]; }
  std::vector<Finding> all() const {
    std::vector<Finding> v;
    for (unsigned i = 0; i < size() && i < kMax; ++i) v.push_back(kept[i].finding);
    return v;
  }

 private:
  static constexpr unsigned kMax = 16;
  static inline std::atomic<unsigned> count{0};
  static inline Report kept[kMax];
  static void collect(const Report& r) noexcept {
    const unsigned at = count.fetch_add(1);
    if (at < kMax) kept[at] = r;
  }
  hosted::ReportSink before_;
};

// ---- the eight kernels' ports, as values --------------------------------------------------------

struct PortCalls {
  Config config;
  std::uint32_t (*irq_save)() noexcept;
  void (*irq_restore)(std::uint32_t) noexcept;
  void (*irq_disable)() noexcept;
  void (*irq_enable)() noexcept;
  bool (*irqs_disabled)() noexcept;
  void (*preempt_disable)() noexcept;
  void (*preempt_enable)() noexcept;
  std::uint32_t (*preempt_count)() noexcept;
  void (*migrate_disable)() noexcept;
  void (*migrate_enable)() noexcept;
  std::uint32_t (*migrate_count)() noexcept;
  void (*bh_disable)() noexcept;
  void (*bh_enable)() noexcept;
  bool (*bh_disabled)() noexcept;
  Context (*context)() noexcept;
  void (*check_abandoned)() noexcept;
};

template <class P>
inline constexpr PortCalls kCallsOf{
    P::kConfig,        P::irq_save,        P::irq_restore,    P::irq_disable,   P::irq_enable,
    P::irqs_disabled,  P::preempt_disable, P::preempt_enable, P::preempt_count, P::migrate_disable,
    P::migrate_enable, P::migrate_count,   P::bh_disable,     P::bh_enable,     P::bh_disabled,
    P::context,        P::check_abandoned};

inline constexpr const PortCalls* kAllPorts[] = {
    &kCallsOf<HostedPort<configs::up>>,     &kCallsOf<HostedPort<configs::up_debug>>,
    &kCallsOf<HostedPort<configs::up_rt>>,  &kCallsOf<HostedPort<configs::up_rt_debug>>,
    &kCallsOf<HostedPort<configs::smp>>,    &kCallsOf<HostedPort<configs::smp_debug>>,
    &kCallsOf<HostedPort<configs::smp_rt>>, &kCallsOf<HostedPort<configs::smp_rt_debug>>,
};

// The one under test; the handlers of a test use it, too.
inline const PortCalls* port = &kCallsOf<HostedPort<kBuiltConfig>>;

// Marks a section, between irq_save() and irq_restore().
class IrqSection {
 public:
  IrqSection() : saved_(port->irq_save()) { in_section.store(1, kRelaxed); }
  ~IrqSection() {
    in_section.store(0, kRelaxed);
    port->irq_restore(saved_);
  }
  IrqSection(const IrqSection&) = delete;
  IrqSection& operator=(const IrqSection&) = delete;

 private:
  const std::uint32_t saved_;
};

// ---- fixtures -----------------------------------------------------------------------------------

// The signals are registered, the log is empty; after the test the port must be quiet.
class PortTest : public ::testing::Test {
 protected:
  void SetUp() override {
    register_all();
    irqs.clear(), nmis.clear(), softirqs.clear();
    in_irq = nullptr, in_nmi = nullptr;
    for (auto& f : in_softirq) f = nullptr;
    in_section = 0;
    ASSERT_EQ(not_quiet(), "");
    hosted::tsan_blocks_change();  // one test's handlers are behind another's, and its parameters
  }
  void TearDown() override {
    EXPECT_EQ(not_quiet(), "");
    quieten();
    hosted::tsan_blocks_change();
  }
};

// The same for each of the eight kernels' ports; INSTANTIATE_TEST_SUITE_P(All, ..., each_port,
// name_of_port).
class EachPortTest : public PortTest, public ::testing::WithParamInterface<const PortCalls*> {
 protected:
  void SetUp() override {
    port = GetParam();
    PortTest::SetUp();
  }
};
inline const auto each_port = ::testing::ValuesIn(kAllPorts);
inline std::string name_of_port(const ::testing::TestParamInfo<const PortCalls*>& info) {
  return name_of(info.param->config);
}

}  // namespace nestlock::port_testing
