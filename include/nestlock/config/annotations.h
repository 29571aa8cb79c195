// What compilers and ThreadSanitizer are told about locks. No other header of the library asks
// which compiler or sanitizer is at work.
//
// The NESTLOCK_* macros are clang's thread-safety attributes (empty elsewhere): GUARDED_BY on
// data, REQUIRES on functions that need the lock, the others on the locks themselves.
#pragma once

#include <cstddef>

#include "nestlock/config/cxx20.h"

#if defined(__clang__)
#define NESTLOCK_INTERNAL_TSA(x) __attribute__((x))
#else
#define NESTLOCK_INTERNAL_TSA(x)
#endif

#define NESTLOCK_CAPABILITY(name) NESTLOCK_INTERNAL_TSA(capability(name))
#define NESTLOCK_SCOPED_CAPABILITY NESTLOCK_INTERNAL_TSA(scoped_lockable)
#define NESTLOCK_GUARDED_BY(x) NESTLOCK_INTERNAL_TSA(guarded_by(x))
#define NESTLOCK_ACQUIRE(...) NESTLOCK_INTERNAL_TSA(acquire_capability(__VA_ARGS__))
#define NESTLOCK_RELEASE(...) NESTLOCK_INTERNAL_TSA(release_capability(__VA_ARGS__))
#define NESTLOCK_TRY_ACQUIRE(...) NESTLOCK_INTERNAL_TSA(try_acquire_capability(__VA_ARGS__))
#define NESTLOCK_ACQUIRE_SHARED(...) NESTLOCK_INTERNAL_TSA(acquire_shared_capability(__VA_ARGS__))
#define NESTLOCK_RELEASE_SHARED(...) NESTLOCK_INTERNAL_TSA(release_shared_capability(__VA_ARGS__))
#define NESTLOCK_RELEASE_GENERIC(...) NESTLOCK_INTERNAL_TSA(release_generic_capability(__VA_ARGS__))
#define NESTLOCK_TRY_ACQUIRE_SHARED(...) \
  NESTLOCK_INTERNAL_TSA(try_acquire_shared_capability(__VA_ARGS__))
#define NESTLOCK_REQUIRES(...) NESTLOCK_INTERNAL_TSA(requires_capability(__VA_ARGS__))
#define NESTLOCK_ASSERT_HELD(...) NESTLOCK_INTERNAL_TSA(assert_capability(__VA_ARGS__))
#define NESTLOCK_NO_TSA NESTLOCK_INTERNAL_TSA(no_thread_safety_analysis)

// A variable of a header of which one program has one, whatever its files were compiled with. With
// -fvisibility=hidden a program and a shared library would each keep their own: a signal handler
// would then look at another word than the one that irq_save() set.
#define NESTLOCK_ONE_COPY [[gnu::visibility("default")]]

// A function of a library that the program may lack. A library that is preloaded into whatever program refers to
// it weakly: its address is null where nobody has it. What is linked into a program has to refer to it strongly,
// for a weak reference takes nothing out of an archive, and in a static program the function would be missing.
#if defined(NESTLOCK_OWN_STATE)
#define NESTLOCK_INTERNAL_IF_THE_PROGRAM_HAS_IT [[gnu::weak]]
#else
#define NESTLOCK_INTERNAL_IF_THE_PROGRAM_HAS_IT
#endif

// ThreadSanitizer. Annotated are only locks without atomics of their own (stateless, uniprocessor)
// and the kernel's hand-over of a priority-inheriting lock, which the tool cannot see: annotating
// an atomic lock would hide the order bugs that the tool is there to find. clang does not define
// __SANITIZE_THREAD__, hence both questions.
#if defined(__SANITIZE_THREAD__)
#define NESTLOCK_WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NESTLOCK_WITH_TSAN 1
#endif
#endif
#ifndef NESTLOCK_WITH_TSAN
#define NESTLOCK_WITH_TSAN 0
#endif

// AddressSanitizer: the allocators above tell it what is free.
#if defined(__SANITIZE_ADDRESS__)
#define NESTLOCK_WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NESTLOCK_WITH_ASAN 1
#endif
#endif
#ifndef NESTLOCK_WITH_ASAN
#define NESTLOCK_WITH_ASAN 0
#endif

#if NESTLOCK_WITH_ASAN
extern "C" {
void __asan_poison_memory_region(void const volatile* addr, std::size_t size);
void __asan_unpoison_memory_region(void const volatile* addr, std::size_t size);
}
#endif

// LeakSanitizer's, where the program has it, whatever this was compiled with. (A weak name that is hidden would be
// found null when a library is linked.)
extern "C" [[gnu::weak, gnu::visibility("default")]] void nestlock_internal_register_root(
    const void* at, std::size_t size) __asm__("__lsan_register_root_region");
extern "C" [[gnu::weak, gnu::visibility("default")]] void nestlock_internal_unregister_root(
    const void* at, std::size_t size) __asm__("__lsan_unregister_root_region");

#if NESTLOCK_WITH_TSAN
extern "C" {
void __tsan_acquire(void* addr);
void __tsan_release(void* addr);
void __tsan_mutex_pre_lock(void* addr, unsigned flags);
void __tsan_mutex_post_lock(void* addr, unsigned flags, int recursion);
int __tsan_mutex_pre_unlock(void* addr, unsigned flags);
void __tsan_mutex_post_unlock(void* addr, unsigned flags);
}
#endif

namespace nestlock::internal {
inline constexpr bool kWithTsan = NESTLOCK_WITH_TSAN;
inline constexpr bool kWithAsan = NESTLOCK_WITH_ASAN;

// Tells AddressSanitizer that [at, at + size) must not be touched, or may be again; else nothing.
inline void asan_poison([[maybe_unused]] const void* at,
                        [[maybe_unused]] std::size_t size) noexcept {
#if NESTLOCK_WITH_ASAN
  __asan_poison_memory_region(at, size);
#endif
}
inline void asan_unpoison([[maybe_unused]] const void* at,
                          [[maybe_unused]] std::size_t size) noexcept {
#if NESTLOCK_WITH_ASAN
  __asan_unpoison_memory_region(at, size);
#endif
}
// Hosted: tells LeakSanitizer that what [at, at + size) refers to has not leaked, as far as it can be read; and that
// it is gone, of what was a root. Not from a handler that may interrupt either: the tool has a lock.
inline bool has_lsan() noexcept { return nestlock_internal_register_root != nullptr; }
inline void lsan_root(const void* at, std::size_t size) noexcept {
  if (nestlock_internal_register_root) nestlock_internal_register_root(at, size);
}
inline void lsan_no_root(const void* at, std::size_t size) noexcept {
  if (nestlock_internal_unregister_root) nestlock_internal_unregister_root(at, size);
}
#if NESTLOCK_WITH_TSAN
inline void tsan_acquire(const volatile void* p) noexcept { __tsan_acquire(const_cast<void*>(p)); }
inline void tsan_release(const volatile void* p) noexcept { __tsan_release(const_cast<void*>(p)); }
// For lock/tsan_lock_order.h alone. 1: the lock is known from its first use on ("linker-initialised", for a
// constinit one has no constructor that could tell); 16: a try.
inline void tsan_pre_lock(const void* p, bool by_try) noexcept {
  __tsan_mutex_pre_lock(const_cast<void*>(p), 1u | (by_try ? 16u : 0u));
}
inline void tsan_post_lock(const void* p, bool by_try) noexcept {
  __tsan_mutex_post_lock(const_cast<void*>(p), 1u | (by_try ? 16u : 0u), 0);
}
inline void tsan_unlock(const void* p) noexcept {
  __tsan_mutex_pre_unlock(const_cast<void*>(p), 0);
  __tsan_mutex_post_unlock(const_cast<void*>(p), 0);
}
#else
inline void tsan_acquire(const volatile void*) noexcept {}
inline void tsan_release(const volatile void*) noexcept {}
inline void tsan_pre_lock(const void*, bool) noexcept {}
inline void tsan_post_lock(const void*, bool) noexcept {}
inline void tsan_unlock(const void*) noexcept {}
#endif
}  // namespace nestlock::internal
