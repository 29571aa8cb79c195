// FLAGS: -std=c++17 -DNESTLOCK_CONFIG=up -Wfatal-errors
// CONTROL: -DNESTLOCK_CONFIG=up
// EXPECT: Nestlock is written in C++20: compile with -std=c++20
#include "nestlock/nestlock.h"
