// Running a subject: once (main.cc), or again and again with new seeds (soak.cc).
#pragma once

#include <span>

#include "tools/torture/storm.h"

namespace nestlock::torture {

extern Options options;  // of the command line

double seconds_now();

// Tortures one subject; an error ends the program. Tells of it, unless there is a place for counts.
int torture(const Named&, double seconds, Worker::Counts* instead_of_telling = nullptr);

// Each subject in turn, in a child and with a seed of its own, for so long. 0: no error.
int soak(std::span<const Named>, double seconds);

// Calls that are preempted by others of a higher priority. An error ends the program.
int fifo(double seconds);

// The command that tries it again. Any context.
void print_again(char* to, std::size_t size, const char* subject) noexcept;

}  // namespace nestlock::torture
