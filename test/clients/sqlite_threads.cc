// SQLite's own speedtest1, twice at once in one process, then two threads on one connection. What
// it prints is the same for each allocator and each kind of mutex.
//
//   sqlite_threads SIZE
#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

// Its main(), compiled twice under two names, with all its other names made local.
extern "C" int speedtest1_first(int argc, char** argv);
extern "C" int speedtest1_second(int argc, char** argv);

namespace {

using Main = int(int, char**);

void speedtest1(Main* run, const char* size, const char* file) {
  const char* argv[] = {"speedtest1", "--verify", "--size", size,
                        "--testset",  "main",     file,     nullptr};
  if (run(7, const_cast<char**>(argv)) != 0) std::abort();
}

void exec(sqlite3* db, const char* sql) {
  char* why = nullptr;
  if (sqlite3_exec(db, sql, nullptr, nullptr, &why) == SQLITE_OK) return;
  std::fprintf(stderr, "clients: %s: %s\n", sql, why);
  std::exit(1);
}

// Each insert is a section of its own over the connection's mutex, which exec() enters again:
// nobody else's row may come between the insert and the question for its number.
void insert(sqlite3* db, int thread, int rows) {
  sqlite3_mutex* const mutex = sqlite3_db_mutex(db);
  for (int i = 0; i < rows; ++i) {
    char sql[100];
    const int key = 2 * i + thread;
    std::snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d, %d)", key, thread);
    if (i % 2 == 0 || sqlite3_mutex_try(mutex) != SQLITE_OK) sqlite3_mutex_enter(mutex);
    exec(db, sql);
    if (sqlite3_last_insert_rowid(db) != key) {
      std::fprintf(stderr, "clients: another thread was in the section\n");
      std::exit(1);
    }
    sqlite3_mutex_leave(mutex);
  }
}

int print_row(void*, int columns, char** values, char**) {
  for (int i = 0; i < columns; ++i) std::printf("%s ", values[i]);
  return std::puts(""), 0;
}

void one_connection() {
  sqlite3* db;
  if (sqlite3_open(":memory:", &db) != SQLITE_OK) std::abort();
  exec(db, "CREATE TABLE t(key INTEGER PRIMARY KEY, thread INT)");
  constexpr int kRows = 5000;
  std::thread other(insert, db, 1, kRows);
  insert(db, 0, kRows);
  other.join();
  sqlite3_exec(db, "SELECT thread, count(*), sum(key) FROM t GROUP BY thread", print_row, nullptr,
               nullptr);
  if (sqlite3_close(db) != SQLITE_OK) std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: sqlite_threads SIZE\n"), 2;
  std::thread other(speedtest1, speedtest1_first, argv[1], "first.db");
  speedtest1(speedtest1_second, argv[1], "second.db");
  other.join();
  one_connection();
}
