// Findings as data: collected while a test goes on, or brought back from a child that died of one.
#pragma once

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <vector>

#include "nestlock/port/hosted.h"

namespace nestlock::test_support {

inline std::string text_of(const Report& r) {
  char text[768];
  to_text(r, text, sizeof text);
  return text;
}

// Collects what goes to the report sink while one of these lives.
class Findings {
 public:
  Findings() {
    count_ = 0;
    hosted::tsan_unchecked(kept_, sizeof kept_);  // read when what reports is over
    before_ = hosted::set_report_sink(collect);
  }
  ~Findings() { hosted::set_report_sink(before_); }
  Findings(const Findings&) = delete;
  Findings& operator=(const Findings&) = delete;

  unsigned size() const { return count_.load(); }
  const Report& operator[](unsigned i) const { return kept_[i]; }
  std::vector<Finding> all() const {
    std::vector<Finding> v;
    for (unsigned i = 0; i < size() && i < kMax; ++i) v.push_back(kept_[i].finding);
    return v;
  }
  // All of them, to be shown when there should be none.
  std::string text() const {
    std::string s;
    for (unsigned i = 0; i < size() && i < kMax; ++i) s += text_of(kept_[i]);
    return s;
  }

 private:
  static constexpr unsigned kMax = 16;
  static inline std::atomic<unsigned> count_{0};
  static inline Report kept_[kMax];
  static void collect(const Report& r) noexcept {
    const unsigned at = count_.fetch_add(1);
    if (at < kMax) kept_[at] = r;
  }
  hosted::ReportSink before_;
};

// What became of a child.
struct Outcome {
  std::vector<Report> reports;  // their strings are literals, the same here and there
  bool died = false;            // by the library's die(): SIGABRT
  bool returned = false;        // f() came to its end
  std::string text() const {
    std::string s = died ? "died:\n" : returned ? "returned:\n" : "ended otherwise:\n";
    for (const Report& r : reports) s += text_of(r);
    return s;
  }
};

namespace detail {
inline int report_pipe = -1;
inline void send_report(const Report& r) noexcept {
  [[maybe_unused]] const auto n = write(report_pipe, &r, sizeof r);
}
}  // namespace detail

// Runs f() in a forked child and brings its findings back: what is fatal ends only the child. A
// child that loops for ever is killed after ten seconds of processor time; one that sleeps for ever
// ends with this thread, which the test's own time limit ends.
template <class F>
Outcome in_child(F f) {
  Outcome o;
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) return o;
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    std::signal(SIGABRT, SIG_DFL);
    const rlimit time{10, 10};
    setrlimit(RLIMIT_CPU, &time);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(pipe_ends[0]);
    detail::report_pipe = pipe_ends[1];
    hosted::set_report_sink(detail::send_report);
    f();
    _exit(0);
  }
  close(pipe_ends[1]);
  Report r;
  while (read(pipe_ends[0], &r, sizeof r) == static_cast<ssize_t>(sizeof r)) o.reports.push_back(r);
  close(pipe_ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  o.died = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
  o.returned = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return o;
}

}  // namespace nestlock::test_support
