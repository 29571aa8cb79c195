#include "holder.h"

unsigned long size_in_the_first_file(const Holder& holder);

static Holder holder;

int main() { return size_in_the_first_file(holder) != sizeof holder; }
