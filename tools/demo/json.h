// The cells for programs.
#pragma once

#include <string>
#include <vector>

#include "section.h"

namespace nestlock::demo {

std::string to_json(const std::vector<Section>& sections, bool pass);

}  // namespace nestlock::demo
