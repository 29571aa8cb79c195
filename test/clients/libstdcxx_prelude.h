// In front of each of libstdc++'s own tests of std::mutex and its guards: they find one of our
// locks under the mutex's name. What they include stands here, for the name changes behind that.
#pragma once

#include <testsuite_common_types.h>
#include <testsuite_hooks.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <sstream>
#include <system_error>
#include <thread>

#include "nestlock/nestlock.h"

namespace std {
using client_mutex = nestlock::CLIENT_LOCK;
}
#define mutex client_mutex
