// How a header declares functions for C and C++ alike. Whatever the configuration: it reads no choice.
#pragma once

#if defined(__cplusplus)
#define NESTLOCK_C_BEGIN extern "C" {
#define NESTLOCK_C_END }
#define NESTLOCK_C_NOEXCEPT noexcept
#else
#define NESTLOCK_C_BEGIN
#define NESTLOCK_C_END
#define NESTLOCK_C_NOEXCEPT
#endif

// The compiler warns where such a function's answer is not looked at.
#define NESTLOCK_MUST_CHECK __attribute__((warn_unused_result))
