// ./nest torture: random operations on several threads under a storm of interruptions, in rounds;
// after each round everything must be there, once.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "nestlock/signals.h"
#include "tools/torture/run.h"

namespace nestlock::torture {

Options options;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

namespace {

// Of all threads.
double processor_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

constexpr double kRound = 0.5;           // seconds
constexpr double kProcessorsToHit = 20;  // theirs

// What `only` asks for, or everything.
std::vector<Named> subjects(const char* only) {
  std::vector<Named> all{{"pages", "pages", pages}, {"objects", "objects", objects}};
  for (const Named& l : locks(options.busted)) all.push_back(l);
  if (only)
    std::erase_if(all, [only](const Named& s) {
      return std::strcmp(only, s.group) != 0 && std::strcmp(only, s.name) != 0;
    });
  return all;
}
const char* tortured = "";  // the present one

// A group has the time of one subject.
double share_of(const Named& s, const std::vector<Named>& all) {
  return 1.0 / static_cast<double>(std::count_if(all.begin(), all.end(), [&s](const Named& o) {
           return !std::strcmp(s.group, o.group);
         }));
}

// ---- one subject --------------------------------------------------------------------------------

// Threads are born and end with the round, and with them their CPUs.
void round_of(Subject& subject, const Options& o, double seconds, Worker::Counts& sum) {
  std::vector<std::unique_ptr<Worker>> workers;
  workers.reserve(o.threads);
  for (unsigned i = 0; i < o.threads; ++i)
    workers.push_back(std::make_unique<Worker>(i, o, subject));
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < o.threads; ++i)
    threads.emplace_back([&w = *workers[i], &stop] { w.run(stop); });
  {
    const Storm storm(workers, o.seed);
    std::thread clock([&] {
      usleep(static_cast<useconds_t>(seconds * 1e6));
      stop = true;
    });
    workers[0]->run(stop);
    clock.join();
    for (std::thread& t : threads) t.join();
  }
  for (const auto& w : workers) sum += w->counts();
}

void print(const char* prefix, const Worker::Counts& c) {
  std::printf("%s%llu operations, %llu handler entries, %llu found a lock held", prefix,
              static_cast<unsigned long long>(c.steps),
              static_cast<unsigned long long>(c.all_entries()),
              static_cast<unsigned long long>(c.all_at_a_held_lock()));
}

void tell_of(const Subject& subject, const Worker::Counts& counts, unsigned rounds) {
  print(isatty(STDOUT_FILENO) ? "\r  " : "  ", counts);
  std::printf(" (");
  for (unsigned l = 1; l < kLevels; ++l)
    std::printf("%s%s %llu of %llu", l == 1 ? "" : ", ", name_of(static_cast<Level>(l)),
                static_cast<unsigned long long>(counts.at_a_held_lock[l]),
                static_cast<unsigned long long>(counts.entries[l]));
  std::printf("); all there after each of %u rounds\n", rounds);
  subject.print_statistics();
}

}  // namespace

int torture(const Named& named, double seconds, Worker::Counts* instead_of_telling) {
  tortured = named.name;
  // Not before a fork: a child of ThreadSanitizer's threads, and levels are some, may have none.
  [[maybe_unused]] static const bool once = (register_handlers(), true);
  // Kept to the end: its CPU offline hook cannot be taken back.
  static std::vector<std::unique_ptr<Subject>> all;
  Subject* const subject = all.emplace_back(named.make(options)).get();
  if (!instead_of_telling) {
    std::printf("%s on %s, %s, %u thread%s, --seed %llu, %.4g s\n", named.group, subject->name(),
                nestlock::name_of(kBuiltConfig), options.threads, options.threads == 1 ? "" : "s",
                static_cast<unsigned long long>(options.seed), seconds);
    std::fflush(stdout);
  }
  const bool progress = !instead_of_telling && isatty(STDOUT_FILENO);
  Worker::Counts counts;
  const double begin = seconds_now(), end = begin + seconds;
  const auto all_hit = [&] { return counts.all_at_a_held_lock() && subject->all_hit(); };
  Options o = options;
  unsigned rounds = 0;
  double by_end = 0;  // of the processors
  // A busy machine may give a short run no time at all: then it goes on until it has hit, or has had
  // processors for long enough.
  const auto goes_on = [&](double now) {
    if (now < end) return by_end = processor_seconds(), true;
    return !all_hit() && processor_seconds() - by_end < kProcessorsToHit;
  };
  for (double now = begin; goes_on(now); now = seconds_now(), ++rounds) {
    round_of(*subject, o, now < end ? std::min(kRound, end - now) : kRound, counts);
    subject->check(/*last=*/false);
    ++o.seed;
    if (progress) {
      std::printf("\r  %3.0f s: ", seconds_now() - begin);
      print("", counts);
      std::fflush(stdout);
    }
  }
  subject->check(/*last=*/true);
  if (instead_of_telling)
    *instead_of_telling = counts;
  else
    tell_of(*subject, counts, rounds);
  if (options.busted) return 0;  // not caught
  if (counts.all_at_a_held_lock() == 0) trouble("no handler found a lock held: nothing was shown");
  if (!subject->all_hit()) trouble("a case was never hit: nothing was shown of it");
  return 0;
}

namespace {

// ---- a lock to be caught ------------------------------------------------------------------------

// In a child: a corrupt allocator may crash or never end. 1: caught, as any error; else 0.
template <class F>
int caught_in_a_child(F run) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    const auto s = static_cast<rlim_t>(options.seconds * options.threads) + 10;
    const rlimit time{s, s};
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_CPU, &time);
    const int status = run();
    std::fflush(stdout);
    _exit(status);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status))
    std::printf("torture: caught: it %s (%s)\n",
                WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGXCPU ? "hung" : "crashed",
                strsignal(WTERMSIG(status)));
  else if (WEXITSTATUS(status))
    std::printf("torture: caught\n");
  else
    std::printf("torture: NOT caught\n");
  return WIFSIGNALED(status) || WEXITSTATUS(status);
}

// "90", "90s", "10m", "1h"; 0: none of these.
double duration(const char* text) {
  char* rest = nullptr;
  const double n = std::strtod(text, &rest);
  if (rest == text || !(n > 0)) return 0;
  if (!std::strcmp(rest, "h")) return n * 3600;
  if (!std::strcmp(rest, "m")) return n * 60;
  return !*rest || !std::strcmp(rest, "s") ? n : 0;
}

// ---- the command line ---------------------------------------------------------------------------

[[noreturn]] void usage(const char* wrong) {
  if (wrong) std::fprintf(stderr, "torture: %s\n", wrong);
  std::fprintf(wrong ? stderr : stdout,
               "usage: torture [--seconds S] [--seed N] [--threads N] [--subject NAME] "
               "[--lock busted] [--soak TIME]\n");
  std::exit(wrong ? 2 : 0);
}

}  // namespace

void print_again(char* to, std::size_t size, const char* subject) noexcept {
  std::snprintf(
      to, size,
      "again: ./nest torture --config %s%s --subject %s --seed %llu --threads %u --seconds "
      "%g%s",
      nestlock::name_of(kBuiltConfig), internal::kWithTsan ? " --tsan" : "", subject,
      static_cast<unsigned long long>(options.seed), options.threads, options.seconds,
      options.busted ? " --lock busted" : "");
}

void* reserve(std::size_t size) {
  void* const p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) trouble("no memory for the test");
  return p;
}

void trouble(const char* format, ...) noexcept {
  char text[768];
  int n = std::snprintf(text, sizeof text,
                        "\ntorture: FOUND in %s, %s: ", nestlock::name_of(kBuiltConfig), tortured);
  va_list values;
  va_start(values, format);
  n += std::vsnprintf(text + n, sizeof text / 2, format, values);
  va_end(values);
  n = std::min(n, static_cast<int>(sizeof text) - 258);
  text[n++] = '\n';
  print_again(text + n, 256, tortured);
  n += static_cast<int>(std::strlen(text + n));
  text[n++] = '\n';
  [[maybe_unused]] const ssize_t written = write(STDOUT_FILENO, text, static_cast<std::size_t>(n));
  _exit(1);
}

namespace {

int main_of(int argc, char** argv) {
  const char* only = nullptr;
  double soak_time = 0;
  for (int i = 1; i < argc; ++i) {
    const char* const name = argv[i];
    if (!std::strcmp(name, "--help")) usage(nullptr);
    if (i + 1 == argc) usage("an option, or its value, is missing");
    const char* const value = argv[++i];
    char* rest = nullptr;
    if (!std::strcmp(name, "--seconds"))
      options.seconds = std::strtod(value, &rest);
    else if (!std::strcmp(name, "--seed"))
      options.seed = std::strtoull(value, &rest, 10);
    else if (!std::strcmp(name, "--threads"))
      options.threads = static_cast<unsigned>(std::strtoul(value, &rest, 10));
    else if (!std::strcmp(name, "--soak")) {
      if ((soak_time = duration(value)) == 0) usage("--soak 90s, 10m, 1h");
    } else if (!std::strcmp(name, "--subject"))
      only = value;
    else if (!std::strcmp(name, "--lock") && !std::strcmp(value, "busted"))
      options.busted = true;
    else
      usage("unknown option");
    if (rest && (*rest || rest == value)) usage("not a number");
  }
  if (options.threads < 1 || options.threads > kMaxThreads) usage("--threads 1 to 32");
  if (!kBuiltConfig.smp) options.threads = 1;  // one CPU
  if (!options.seed) options.seed = static_cast<std::uint64_t>(seconds_now() * 1e6) % 1'000'000'000;

  hosted::set_report_sink([](const Report& r) noexcept {
    trouble("report: %s in %s", nestlock::name_of(r.finding), r.call ? r.call : "?");
  });
  int status = 0, ran = 0, caught = 0;
  const std::vector<Named> all = subjects(only);
  const bool with_fifo = !options.busted && (!only || !std::strcmp(only, "fifo"));
  if (all.empty() && !with_fifo) usage("no such subject");
  if (soak_time > 0 && all.empty()) usage("no soak of fifo");
  if (soak_time > 0) return soak(all, soak_time);
  for (const Named& s : all) {
    const auto run = [&] { return torture(s, options.seconds * share_of(s, all)); };
    if (options.busted)
      caught += caught_in_a_child(run);
    else
      status |= run();
    ++ran;
  }
  if (with_fifo) {
    tortured = "fifo";
    status |= fifo(options.seconds);
  }
  return options.busted ? caught == ran : status;
}

}  // namespace
}  // namespace nestlock::torture

int main(int argc, char** argv) { return nestlock::torture::main_of(argc, argv); }
