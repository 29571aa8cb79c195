# What stands elsewhere, read there: the version and the names of the configurations.

set(nestlock_version "")
foreach(part MAJOR MINOR PATCH)
  file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../include/nestlock/version.h" line
       REGEX "^#define NESTLOCK_VERSION_${part} [0-9]+$")
  if(NOT line MATCHES "([0-9]+)$")
    message(FATAL_ERROR "Nestlock: include/nestlock/version.h does not define NESTLOCK_VERSION_${part}")
  endif()
  list(APPEND nestlock_version "${CMAKE_MATCH_1}")
endforeach()
list(JOIN nestlock_version "." nestlock_version)

set(nestlock_all_configs "")
file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../configs/configs.bzl" lines REGEX "^    \"[a-z_]+\": struct\\(")
foreach(line IN LISTS lines)
  string(REGEX REPLACE "^    \"([a-z_]+)\".*" "\\1" name "${line}")
  list(APPEND nestlock_all_configs "${name}")
endforeach()
if(NOT nestlock_all_configs)
  message(FATAL_ERROR "Nestlock: configs/configs.bzl lists no configuration")
endif()

# What changes when either file does.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
             "${CMAKE_CURRENT_LIST_DIR}/../include/nestlock/version.h"
             "${CMAKE_CURRENT_LIST_DIR}/../configs/configs.bzl")
