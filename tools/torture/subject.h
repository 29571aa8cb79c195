// What is tortured. A subject joins by a class of its own and a line in subjects() (main.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace nestlock::torture {

inline constexpr unsigned kMaxThreads = 32;

struct Options {
  double seconds = 10;
  std::uint64_t seed = 0;  // 0: by the clock
  unsigned threads = 4;
  bool busted = false;  // on a lock that always says yes
};

// Where a call is made. Each level of a thread interrupts those before it, never itself.
enum class Level : std::uint8_t {
  task,
  probe,  // a handler that nobody registered, or a call at a lock: the library sees a task
  irq,
  nmi,
};
inline constexpr unsigned kLevels = 4;
constexpr const char* name_of(Level l) noexcept {
  constexpr const char* names[kLevels] = {"task", "probe", "irq", "nmi"};
  return names[static_cast<unsigned>(l)];
}

// What the allocators' subjects have out: of a level of a thread, and on its way to another.
inline constexpr unsigned kKept = 24, kHandovers = 16;

// One level of one thread. What a subject keeps for it no other touches.
struct Caller {
  unsigned thread = 0;
  Level level = Level::task;
  std::uint64_t state = 0;

  std::uint32_t random(std::uint32_t below) noexcept {
    state = state * 6364136223846793005 + 1442695040888963407;
    return static_cast<std::uint32_t>((state >> 33) % below);
  }
};

// Every error ends the run on the spot, by trouble().
class Subject {
 public:
  virtual ~Subject() = default;
  virtual const char* name() const = 0;
  // One random operation of a task.
  virtual void step(Caller&) noexcept = 0;
  // A few of those that may be made anywhere. It must keep some of what it gets: a balanced pair
  // hides every error.
  virtual void nested(Caller&) noexcept = 0;
  // All threads but this are gone: is everything there, once? `last`: give it all back first.
  virtual void check(bool last) = 0;
  // Whether it has seen each thing at least once that it is there to see.
  virtual bool all_hit() const { return true; }
  virtual void print_statistics() const = 0;
};

// `--subject` takes either name: a group is all that have it.
struct Named {
  const char* group;
  const char* name;
  std::unique_ptr<Subject> (*make)(const Options&);
};
std::unique_ptr<Subject> pages(const Options&);
std::unique_ptr<Subject> objects(const Options&);
std::span<const Named> locks(bool busted);

// Memory for a subject, all zero.
void* reserve(std::size_t size);

// Prints what was found, by whom, and how to try again; ends the program with 1. Any context.
[[noreturn, gnu::format(printf, 1, 2)]] void trouble(const char* format, ...) noexcept;

}  // namespace nestlock::torture
