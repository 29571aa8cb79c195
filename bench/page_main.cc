// The page allocator beside the system's and the mallocs, in one run.
#include "allocators.h"
#include "rows.h"
#include "run.h"

int main(int argc, char** argv) {
  bench::make_room_for_peers(argv);
  return bench::run(argc, argv,
                    {bench::where_peers_are(),
                     {
                         {"4 KiB/nestlock up/pair", 0.80},
                         {"4 KiB/nestlock smp/pair", 3.00},
                     },
                     [](const bench::RunOptions& o) {
                       bench::add_limits();
                       bench::add_pages(o);
                       bench::add_drains(o);
                     }});
}
