// A fibre: a function on a stack of its own, switched to by hand. For the simulator.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

namespace nestlock::testing::internal {

class Fibre {
 public:
  // The thread's own stack, to switch from and back to.
  Fibre() = default;
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;
  ~Fibre() {
    if (stack_) spare().push_back(std::move(stack_));
  }

  // Makes it a fibre that will call entry(argument), which must never return: that aborts the program,
  // for what would come next is the end of the thread, with exit status 0. May be called again for the
  // same stack; what was on it is forgotten, not destroyed. `name`, for that message, is not copied.
  void start(void (*entry)(void*), void* argument, const char* name) {
    if (!stack_ && !spare().empty()) {
      stack_ = std::move(spare().back());
      spare().pop_back();
    }
    if (!stack_) stack_ = std::make_unique_for_overwrite<std::byte[]>(kStackSize);
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = kStackSize;
    context_.uc_link = nullptr;
    entry_ = entry, argument_ = argument, name_ = name;
    // makecontext() passes ints: the pointer goes in two halves.
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&context_, reinterpret_cast<void (*)()>(&run), 2, static_cast<unsigned>(self),
                static_cast<unsigned>(static_cast<std::uint64_t>(self) >> 32));
  }

  // Leaves `from`, which is what runs now, for `to`.
  static void switch_to(Fibre& from, Fibre& to) { swapcontext(&from.context_, &to.context_); }

 private:
  static constexpr std::size_t kStackSize = std::size_t{128} * 1024;

  using Stack = std::unique_ptr<std::byte[]>;

  // Thousands of executions take the same few.
  static std::vector<Stack>& spare() {
    static std::vector<Stack> stacks;
    return stacks;
  }

  static void run(unsigned low, unsigned high) {
    const auto self = static_cast<std::uintptr_t>(low | static_cast<std::uint64_t>(high) << 32);
    auto* const fibre = reinterpret_cast<Fibre*>(self);
    // It is on its stack now. AddressSanitizer clears all of what stands here before a switch: once
    // is enough.
    fibre->context_.uc_stack = {};
    fibre->entry_(fibre->argument_);
    std::fprintf(stderr,
                 "%s:%d: the function of fibre '%s' has returned: it has nowhere to go on\n",
                 __FILE__, __LINE__, fibre->name_);
    std::abort();
  }

  ucontext_t context_{};
  Stack stack_;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  const char* name_ = "";
};

}  // namespace nestlock::testing::internal
