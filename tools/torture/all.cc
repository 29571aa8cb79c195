// The whole program as one source: most of what its parts take to compile is the headers that they
// share, and it is built in each configuration.
#include "tools/torture/fifo.cc"
#include "tools/torture/locks.cc"
#include "tools/torture/main.cc"
#include "tools/torture/objects.cc"
#include "tools/torture/pages.cc"
#include "tools/torture/soak.cc"
#include "tools/torture/storm.cc"
