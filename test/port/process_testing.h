// What the tests of the port in a real process share: the fixture, and children.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <functional>
#include <vector>

#include "nestlock/nestlock.h"
#include "test/port/port_testing.h"

namespace nestlock::port_testing {

using Smp = HostedPort<configs::smp_debug>;
using signals::Error;
using Values = std::vector<int>;

inline int spare() { return SIGRTMIN + 8; }  // registered by no fixture

class PortProcessTest : public PortTest {
 protected:
  void SetUp() override {
    port = &kCallsOf<BuiltPort>;
    PortTest::SetUp();
    Smp::cpu_id();
  }
};

inline unsigned cpus_in_use() {
  unsigned n = 0;
  for (const auto& word : hosted::process().cpus_taken) n += std::popcount(word.load());
  return n;
}

// How a child ends that runs `body`: its status, or the signal that ended it + 1000.
inline int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace nestlock::port_testing
