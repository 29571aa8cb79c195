#include "holder.h"

unsigned long size_in_the_first_file(const Holder& holder) { return sizeof holder; }
