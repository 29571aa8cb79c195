// What the tests include most, compiled once: g++ alone is told to begin with it (see
// configs/precompiled.bzl). No test may need it: each includes what it uses, which clang checks.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "gtest/gtest.h"
