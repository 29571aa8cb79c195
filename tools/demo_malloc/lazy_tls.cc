// A library with thread-local data that is made when a thread first touches it, as most libraries' is
// (the C library allocates it then, in __tls_get_addr(), wherever that is).
extern "C" int touch_lazy_data(int value);

namespace {
struct Large {
  int words[5000];
};
thread_local Large lazy;
}  // namespace

int touch_lazy_data(int value) {
  int& word = lazy.words[static_cast<unsigned>(value) % 5000];
  return word += value;
}
