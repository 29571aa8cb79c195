// A program and two libraries, each with a copy of the headers: one state of the port. The libraries
// are loaded and unloaded over and over, beside threads, signals and a fork.
//
//   program LIBRARY OTHER TIMES
#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "nestlock/signals.h"
#include "shared.h"

namespace {

using nestlock::hosted::process;

SharedData all;
std::atomic<long> entered{0};
thread_local long irqs_here;
std::atomic<bool> over{false};

void on_irq(int, siginfo_t*, void*) {
  ++irqs_here;
  entered += count_in(all, 1);
}
long irqs() { return irqs_here; }

int failures;
void check(bool ok, const char* what) {
  if (ok) return;
  if (++failures < 10) std::printf("FAILED: %s\n", what);
}

bool mapped(const char* library) {
  const char* const name = std::strrchr(library, '/') + 1;
  std::FILE* const maps = std::fopen("/proc/self/maps", "r");
  char line[1024];
  bool found = false;
  while (std::fgets(line, sizeof line, maps)) found |= std::strstr(line, name) != nullptr;
  std::fclose(maps);
  return found;
}

template <class F>
F* get(void* library, const char* name) {
  return reinterpret_cast<F*>(dlsym(library, name));
}

void* load(const char* path) {
  void* const library = dlopen(path, RTLD_NOW);
  if (!library) std::printf("%s\n", dlerror()), std::exit(2);
  return library;
}

void look_at_one_state(void* library) {
  check(get<unsigned long()>(library, "library_self")() == nestlock::BuiltPort::self(),
        "two states");
  check(get<unsigned()>(library, "library_cpu")() == nestlock::BuiltPort::cpu_id(), "two CPUs");
  check(get<bool(long (*)())>(library, "library_masks")(irqs),
        "an irq came inside a library's section");
}

void use(const char* same_path, const char* other_path, bool forks) {
  void* const same = load(same_path);
  void* const other = load(other_path);
  auto* const count = get<long(SharedData&, long)>(same, "library_count");
  // Nobody may find its handler when it is gone.
  auto* const registers = get<bool(int)>(same, "library_registers");
  if (registers) check(registers(SIGUSR2), "a handler is still registered");
  const auto task = [&] {
    if (registers) raise(SIGUSR2);
    look_at_one_state(same);
    look_at_one_state(other);
    entered += count(all, 20);
  };
  std::thread(task).join();
  task();
  if (forks) {
    const pid_t child = fork();
    if (child == 0) task(), _exit(failures != 0);
    int status = -1;
    waitpid(child, &status, 0);
    check(status == 0, "the child");
  }
  dlclose(same);
  dlclose(other);
  check(!mapped(same_path), "the library is still there");
  if (registers) {
    struct sigaction now;
    sigaction(SIGUSR2, nullptr, &now);
    check(now.sa_handler == SIG_DFL, "its handler is still there");
  }
  check(!mapped(other_path), "the other library is still there");
}

unsigned cpus_taken() {
  unsigned n = 0;
  for (const auto& word : process().cpus_taken)
    n += static_cast<unsigned>(std::popcount(word.load()));
  return n;
}

}  // namespace

int main(int, char** arguments) {
  if (nestlock::signals::register_irq(SIGUSR1, on_irq) != nestlock::signals::Error::none) return 2;
  nestlock::BuiltPort::cpu_id();
  std::atomic<bool> counts{false};
  std::thread counting([&] {
    while (!over) entered += count_in(all, 1000), counts = true;
  });
  std::thread storm([main = pthread_self(), other = counting.native_handle()] {
    for (; !over; usleep(50)) pthread_kill(main, SIGUSR1), pthread_kill(other, SIGUSR1);
  });
  // Threads that end while a library goes, and never were in it.
  std::thread come_and_go([&] {
    while (!over) {
      std::thread one([] { entered += count_in(all, 20); }),
          other([] { entered += count_in(all, 20); });
      one.join();
      other.join();
    }
  });
  while (!counts) std::this_thread::yield();
  const int times = std::atoi(arguments[3]);
  for (int i = 0; i < times; ++i) use(arguments[1], arguments[2], i == times / 2);
  over = true;
  storm.join();
  counting.join();
  come_and_go.join();
  check(cpus_taken() == 1, "CPUs were not given back");
  long counted = 0;
  for (unsigned cpu = 0; cpu < all.size(); ++cpu) counted += all.on(cpu).n;
  check(counted == entered, "counts were lost");
  std::printf("%d failed\n", failures);
  return failures != 0;
}
