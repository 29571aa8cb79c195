# What an embedder may choose. The four that change code travel with the targets, as compile
# definitions, so that user and library always see the same.

set(NESTLOCK_CONFIGS "all" CACHE STRING
    "Configurations to offer: all, or a list of ${nestlock_all_configs}")
set(NESTLOCK_MAX_CPUS "64" CACHE STRING
    "Virtual CPUs of the hosted port, 1 to 4096: threads that use the library at the same time")
set(NESTLOCK_PAGE_SHIFT "12" CACHE STRING "log2 of the page size, 8 to 16")
set(NESTLOCK_PORT "hosted" CACHE STRING
    "hosted (Linux, signals are interrupts), bare or custom (a header of yours, in NESTLOCK_PORT_DIR)")
set_property(CACHE NESTLOCK_PORT PROPERTY STRINGS hosted bare custom)
set(NESTLOCK_PORT_DIR "" CACHE PATH
    "Folder of nestlock_bare.h (port bare) or nestlock_port.h (port custom)")
option(NESTLOCK_INSTALL "Install headers, libraries and what finds them" ${nestlock_top_level})
if(nestlock_top_level)
  option(BUILD_SHARED_LIBS "Shared libraries in place of static ones" OFF)
endif()

# nestlock_number(NAME LEAST MOST): the same limits as in the headers, but told at configure time.
function(nestlock_number name least most)
  set(value "${${name}}")
  if(NOT value MATCHES "^[1-9][0-9]*$" OR value LESS least OR value GREATER most)
    message(FATAL_ERROR "Nestlock: ${name} is '${value}'; it must be a plain number from ${least} to ${most}")
  endif()
endfunction()
nestlock_number(NESTLOCK_MAX_CPUS 1 4096)
nestlock_number(NESTLOCK_PAGE_SHIFT 8 16)

set(nestlock_configs "${NESTLOCK_CONFIGS}")
if(nestlock_configs STREQUAL "all")
  set(nestlock_configs "${nestlock_all_configs}")
endif()
if(NOT nestlock_configs)
  message(FATAL_ERROR "Nestlock: NESTLOCK_CONFIGS is empty; it is 'all' or a list of: ${nestlock_all_configs}")
endif()
foreach(config IN LISTS nestlock_configs)
  if(NOT config IN_LIST nestlock_all_configs)
    message(FATAL_ERROR "Nestlock: NESTLOCK_CONFIGS names '${config}', which is no configuration; "
                        "there are: ${nestlock_all_configs}")
  endif()
endforeach()

# The header that each port looks for beyond the library's own.
set(nestlock_header_of_port_bare "nestlock_bare.h")
set(nestlock_header_of_port_custom "nestlock_port.h")
if(NOT NESTLOCK_PORT MATCHES "^(hosted|bare|custom)$")
  message(FATAL_ERROR "Nestlock: NESTLOCK_PORT is '${NESTLOCK_PORT}'; it is hosted, bare or custom")
elseif(NOT NESTLOCK_PORT STREQUAL "hosted")
  set(header "${nestlock_header_of_port_${NESTLOCK_PORT}}")
  if(NOT EXISTS "${NESTLOCK_PORT_DIR}/${header}")
    message(FATAL_ERROR "Nestlock: NESTLOCK_PORT is '${NESTLOCK_PORT}', so NESTLOCK_PORT_DIR must be the "
                        "folder of your ${header}; it is '${NESTLOCK_PORT_DIR}'")
  endif()
endif()
