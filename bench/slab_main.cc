// The slab allocator beside the allocators that programs use, in one run.
#include "allocators.h"
#include "rows.h"
#include "run.h"

int main(int argc, char** argv) {
  bench::make_room_for_peers(argv);
  return bench::run(
      argc, argv,
      {bench::where_peers_are(),
       {
           {"malloc/nestlock up/pair 64", 0.62, "malloc/(the loop alone)/pair 64"},
           {"malloc/nestlock smp/pair 64", 0.62, "malloc/(the loop alone)/pair 64"},
           {"malloc/nestlock smp/64 x 64 in order", 0.70,
            "malloc/(the loop alone)/64 x 64 in order"},
           {"malloc/nestlock smp/64 x 64 against", 0.70, "malloc/(the loop alone)/64 x 64 against"},
           {"malloc/nestlock smp/random 16..1024", 1.70, "malloc/(the loop alone)/random 16..1024"},
           {"malloc/nestlock smp/to another CPU", 1.00, "malloc/(the loop alone)/to another CPU",
            "malloc/jemalloc/to another CPU"},
           {"handler/kmalloc_nolock+kfree_nolock 64/up", 1.30, nullptr,
            "handler/kmalloc+kfree 64/up"},
           {"handler/kmalloc_nolock+kfree_nolock 64/smp", 1.30, nullptr,
            "handler/kmalloc+kfree 64/smp"},
           {"handler/kmalloc_nolock+kfree_nolock 64/smp", 0.02, nullptr,
            "handler/absl LowLevelAlloc, signal-safe arena 64/smp"},
       },
       [](const bench::RunOptions& o) {
         bench::add_limits();
         bench::add_slab(o);
       }});
}
