// What a program gets under the limits that it is started with: see limits_test.sh.
//
//   limits WHAT BYTES      prints what there was of it; BYTES is the limit
#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr int kThreads = 8;
pthread_barrier_t all_are_there;

void* thread(void*) {
  void* volatile const p = std::malloc(100);
  pthread_barrier_wait(&all_are_there);
  std::free(p);
  return nullptr;
}

// All at once, with stacks of 8 MiB.
void threads() {
  pthread_t made[kThreads];
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 8 * kMiB);
  pthread_barrier_init(&all_are_there, nullptr, kThreads + 1);
  int n = 0;
  while (n < kThreads && pthread_create(&made[n], &attributes, thread, nullptr) == 0) ++n;
  std::printf("%d threads\n", n);
  std::fflush(stdout);
  if (n < kThreads) std::_Exit(1);
  pthread_barrier_wait(&all_are_there);
  for (const pthread_t t : made) pthread_join(t, nullptr);
}

// Blocks of this size that stay, of so many bytes together: a word is written to each.
void blocks(std::size_t size, std::size_t bytes) {
  std::size_t had = 0;
  for (char* p; had < bytes && (p = static_cast<char*>(std::malloc(size))) != nullptr; had += size)
    std::memcpy(p, &had, sizeof had < size ? sizeof had : size);
  std::printf("blocks of %zu bytes: %s\n", size, had >= bytes ? "all" : "not all");
}

// Somebody has mapped pages where malloc's next blocks would lie: they stay his, and there are blocks.
void in_the_way() {
  const auto block = reinterpret_cast<std::uintptr_t>(std::malloc(100)) & ~(2 * kMiB - 1);
  volatile char* pages[16] = {};
  for (std::size_t i = 0; i < std::size(pages); ++i) {
    void* const at = reinterpret_cast<void*>(block + (i + 1) * 4 * kMiB);
    void* const p = mmap(at, 4096, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != MAP_FAILED) *(pages[i] = static_cast<char*>(p)) = 1;
  }
  blocks(8192, 32 * kMiB);
  bool kept = true;
  for (volatile char* const p : pages) kept &= !p || *p == 1;
  std::printf("what was in the way is %s\n", kept ? "kept" : "lost");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string what = argv[1];
  const std::size_t limit = std::strtoull(argv[2], nullptr, 10);
  if (what == "threads") threads();
  if (what == "large") blocks(kMiB, limit / 3);
  if (what == "small") blocks(200, limit / 3);
  if (what == "half") blocks(limit / 2, limit / 2);
  if (what == "in_the_way") in_the_way();
  if (what == "all") {
    blocks(kMiB, limit / 4);
    blocks(200, limit / 4);
    threads();
  }
  return 0;
}
