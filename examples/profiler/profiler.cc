// A sampling profiler for programs as they are: a timer's handler takes the stack of whatever it interrupts and
// counts it in a std::map, which allocates there and then. At the program's end it writes a flame graph.
//
//   g++ -std=c++20 -O2 -fPIC -shared examples/profiler/profiler.cc -o libprofiler.so
//   LD_PRELOAD="$PWD/libprofiler.so /where/it/is/libnestlock_malloc.so" PROFILE=profile python3 program.py
//
// writes a file each process, named by its number.
//
// On another malloc() it hangs or corrupts the program it looks at: profilers on those keep their samples in
// memory of their own, set aside before, and lose what does not fit. docs/malloc.md says why here it may.
//
// No lock is waited for in the handler: a sample that comes while another thread's is being counted is
// counted as lost.
#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr long kPeriod = 1'000'000;  // ns of processor time
constexpr int kDeepest = 100;

using Stack = std::vector<void*>;
std::map<Stack, unsigned long>* stacks;  // never destroyed: handlers may come to the very end
std::atomic<bool> counting{false}, running{false};
std::atomic<unsigned long> lost{0};
std::string* output;
pid_t started;
timer_t timer;

void on_sample(int) {
  if (!running.load()) return;
  if (counting.exchange(true, std::memory_order_acquire)) {
    ++lost;
    return;
  }
  const int saved = errno;
  void* frames[kDeepest];
  const int n = backtrace(frames, kDeepest);
  constexpr int kOurs = 2;  // this handler, and what the kernel returns to from it
  if (n > kOurs) ++(*stacks)[Stack(frames + kOurs, frames + n)];
  errno = saved;
  counting.store(false, std::memory_order_release);
}

std::string name_of(void* address) {
  Dl_info info;
  if (!dladdr(address, &info)) return "?";
  if (!info.dli_sname) {
    const std::string file = info.dli_fname ? info.dli_fname : "?";
    return "[" + file.substr(file.rfind('/') + 1) + "]";
  }
  int status = 0;
  char* const plain = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
  std::string name = plain ? plain : info.dli_sname;
  std::free(plain);
  return name;
}

// A function, and what it called.
struct Node {
  unsigned long samples = 0;
  std::map<std::string, Node> callees;

  unsigned depth() const {
    unsigned deepest = 0;
    for (const auto& [name, node] : callees) deepest = std::max(deepest, node.depth());
    return deepest + 1;
  }
};

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

constexpr double kWidth = 1200, kRow = 17;

void draw(std::FILE* svg, const std::string& name, const Node& node, double x, double y,
          double scale) {
  const double width = static_cast<double>(node.samples) * scale;
  if (width < 0.5) return;
  unsigned hue = 0;
  for (const char c : name) hue = hue * 31 + static_cast<unsigned char>(c);
  std::fprintf(svg,
               "<g><title>%s: %lu</title><rect x='%.1f' y='%.1f' width='%.1f' height='%.0f' "
               "fill='hsl(%u,75%%,65%%)' stroke='white'/>",
               escaped(name).c_str(), node.samples, x, y, width, kRow, hue % 50 + 10);
  const auto fits = static_cast<std::size_t>(width / 7);
  if (fits > 3)
    std::fprintf(svg, "<text x='%.1f' y='%.1f'>%s</text>", x + 3, y + 12,
                 escaped(name.substr(0, fits)).c_str());
  std::fprintf(svg, "</g>\n");
  for (const auto& [callee, below] : node.callees) {
    draw(svg, callee, below, x, y - kRow, scale);
    x += static_cast<double>(below.samples) * scale;
  }
}

[[gnu::constructor]] void start() {
  const char* const file = std::getenv("PROFILE");
  if (!file) return;
  // The programs that this one starts, or becomes, write theirs.
  output = new std::string(file + ("." + std::to_string(getpid()) + ".svg"));
  started = getpid();
  stacks = new std::map<Stack, unsigned long>;
  void* prime[1];
  backtrace(prime, 1);  // loads the unwinder, which a handler should not
  struct sigaction action{};
  action.sa_handler = on_sample;
  action.sa_flags = SA_RESTART;
  sigaction(SIGPROF, &action, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGPROF;
  if (timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) != 0) return;
  running.store(true);
  const itimerspec often{.it_interval = {0, kPeriod}, .it_value = {0, kPeriod}};
  timer_settime(timer, 0, &often, nullptr);
}

[[gnu::destructor]] void write_the_graph() {
  if (!running.exchange(false) || getpid() != started) return;  // a fork has its parent's samples
  timer_delete(timer);
  while (counting.exchange(true, std::memory_order_acquire)) {
  }
  if (stacks->empty()) return;
  Node root;
  for (const auto& [stack, n] : *stacks) {
    Node* at = &root;
    at->samples += n;
    for (std::size_t i = stack.size(); i-- > 0;) {
      at = &at->callees[name_of(stack[i])];
      at->samples += n;
    }
  }
  std::FILE* const svg = std::fopen(output->c_str(), "w");
  if (!svg) return;
  const double height = (root.depth() + 2) * kRow;
  std::fprintf(
      svg,
      "<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='%.0f' font-family='monospace' "
      "font-size='11'>\n",
      kWidth, height);
  const std::string all =
      "all: " + std::to_string(root.samples) + " samples, " + std::to_string(lost.load()) + " lost";
  draw(svg, all, root, 0, height - 2 * kRow,
       root.samples ? kWidth / static_cast<double>(root.samples) : 0);
  std::fprintf(svg, "</svg>\n");
  std::fclose(svg);
}

}  // namespace
