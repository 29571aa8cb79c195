# The three targets of each configuration, and malloc in the one of programs with threads.

set(nestlock_sources "${PROJECT_SOURCE_DIR}/lib/page/page.cc" "${PROJECT_SOURCE_DIR}/lib/slab/slab.cc")
if(NESTLOCK_PORT STREQUAL "hosted")
  # The rest of lib/ is the hosted port, the process's own allocators, the C face and malloc.
  file(GLOB nestlock_sources CONFIGURE_DEPENDS
       "${PROJECT_SOURCE_DIR}/lib/port/*.cc" "${PROJECT_SOURCE_DIR}/lib/page/*.cc"
       "${PROJECT_SOURCE_DIR}/lib/slab/*.cc" "${PROJECT_SOURCE_DIR}/lib/c/*.cc"
       "${PROJECT_SOURCE_DIR}/lib/malloc/*.cc")
  set(THREADS_PREFER_PTHREAD_FLAG ON)
  find_package(Threads REQUIRED)
endif()

# A build without a type and without a level of its own would be an allocator without optimisation.
set(nestlock_optimise "")
if(NOT CMAKE_CXX_FLAGS MATCHES "(^| )-O")
  set(nestlock_optimise "$<$<CONFIG:>:-O2>")
endif()

foreach(config IN LISTS nestlock_configs)
  add_library(nestlock_locks_${config} INTERFACE)
  target_compile_features(nestlock_locks_${config} INTERFACE cxx_std_20)
  # A target that links two configurations is refused when CMake runs.
  set_target_properties(nestlock_locks_${config} PROPERTIES
    INTERFACE_NESTLOCK_CONFIG ${config} COMPATIBLE_INTERFACE_STRING NESTLOCK_CONFIG)
  target_compile_definitions(nestlock_locks_${config} INTERFACE
    NESTLOCK_CONFIG=${config}
    NESTLOCK_PORT=${NESTLOCK_PORT}
    NESTLOCK_MAX_CPUS=${NESTLOCK_MAX_CPUS}
    NESTLOCK_PAGE_SHIFT=${NESTLOCK_PAGE_SHIFT})
  target_include_directories(nestlock_locks_${config} INTERFACE
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:include>")
  if(NESTLOCK_PORT_DIR)
    target_include_directories(nestlock_locks_${config} INTERFACE
      "$<BUILD_INTERFACE:${NESTLOCK_PORT_DIR}>")
  endif()

  add_library(nestlock_${config} ${nestlock_sources})
  target_link_libraries(nestlock_${config} PUBLIC nestlock_locks_${config})
  if(NESTLOCK_PORT STREQUAL "hosted")
    target_link_libraries(nestlock_${config} PUBLIC Threads::Threads)
  endif()
  # A C program links it without the C++ library.
  target_compile_options(nestlock_${config} PRIVATE
    -fno-exceptions -fno-rtti ${nestlock_optimise})
  set_target_properties(nestlock_${config} PROPERTIES
    CXX_EXTENSIONS OFF
    POSITION_INDEPENDENT_CODE ON
    OUTPUT_NAME nestlock-${config}
    VERSION ${PROJECT_VERSION}
    # Before 1.0 a minor version may change everything.
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  if(BUILD_SHARED_LIBS)
    # Whatever the embedder hides of its own: what this library is for must be visible.
    set_target_properties(nestlock_${config} PROPERTIES
      CXX_VISIBILITY_PRESET default VISIBILITY_INLINES_HIDDEN OFF)
  endif()
  if(NOT NESTLOCK_INSTALL)
    # Eight libraries, of which an embedder links one or two.
    set_target_properties(nestlock_${config} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()

  add_library(nestlock_testing_${config} INTERFACE)
  target_link_libraries(nestlock_testing_${config} INTERFACE nestlock_${config})

  set_target_properties(nestlock_locks_${config} PROPERTIES EXPORT_NAME locks_${config})
  set_target_properties(nestlock_${config} PROPERTIES EXPORT_NAME ${config})
  set_target_properties(nestlock_testing_${config} PROPERTIES EXPORT_NAME testing_${config})
  add_library(nestlock::locks_${config} ALIAS nestlock_locks_${config})
  add_library(nestlock::${config} ALIAS nestlock_${config})
  add_library(nestlock::testing_${config} ALIAS nestlock_testing_${config})
endforeach()

# malloc, free and operator new for whoever links it (nestlock::malloc), or preloads it: the library
# libnestlock_malloc.so stands by itself, for more threads, and brings no C++ library.
set(nestlock_with_malloc OFF)
if("smp" IN_LIST nestlock_configs AND NESTLOCK_PORT STREQUAL "hosted")
  set(nestlock_with_malloc ON)
  file(GLOB nestlock_malloc_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/lib/malloc/standard/*.cc")
  add_library(nestlock_malloc STATIC ${nestlock_malloc_sources})
  target_link_libraries(nestlock_malloc PUBLIC nestlock_smp)
  # Asked for by name: else an archive's malloc would come only where the program itself calls it. Not operator
  # new: it needs the C++ library, which a C program has not. Where the C++ library alone calls it, that library's
  # own serves, from malloc.
  target_link_options(nestlock_malloc INTERFACE "LINKER:-u,malloc")
  # Two members of the archive, also where CMAKE_UNITY_BUILD makes one file of other targets.
  set_target_properties(nestlock_malloc PROPERTIES OUTPUT_NAME nestlock-malloc EXPORT_NAME malloc
                        CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON UNITY_BUILD OFF)

  set(nestlock_preload_sources ${nestlock_malloc_sources} ${nestlock_sources})
  list(FILTER nestlock_preload_sources EXCLUDE REGEX "/lib/port/")
  add_library(nestlock_malloc_preload SHARED ${nestlock_preload_sources}
              "${PROJECT_SOURCE_DIR}/lib/port/config_stamp.cc")
  set(nestlock_exports "${PROJECT_SOURCE_DIR}/lib/malloc/standard/exports.map")
  target_compile_features(nestlock_malloc_preload PRIVATE cxx_std_20)
  target_compile_definitions(nestlock_malloc_preload PRIVATE
    NESTLOCK_CONFIG=smp NESTLOCK_MAX_CPUS=1024 NESTLOCK_OWN_STATE NESTLOCK_FROM_THE_START
    NESTLOCK_PAGE_SHIFT=${NESTLOCK_PAGE_SHIFT})
  target_include_directories(nestlock_malloc_preload PRIVATE "${PROJECT_SOURCE_DIR}/include")
  target_link_options(nestlock_malloc_preload PRIVATE "LINKER:--version-script=${nestlock_exports}"
                      "LINKER:--as-needed" "LINKER:--gc-sections" -static-libgcc)
  set_target_properties(nestlock_malloc_preload PROPERTIES OUTPUT_NAME nestlock_malloc
                        CXX_EXTENSIONS OFF LINK_DEPENDS "${nestlock_exports}")
  # The sheaves of 1,024 CPUs are more than Clang initialises while it compiles, unless it is told.
  target_compile_options(nestlock_malloc_preload PRIVATE
                         $<$<CXX_COMPILER_ID:Clang,AppleClang>:-fconstexpr-steps=100000000>)
  foreach(target nestlock_malloc nestlock_malloc_preload)
    target_compile_options(${target} PRIVATE ${nestlock_optimise} -fno-exceptions -fno-rtti)
    if(NOT NESTLOCK_INSTALL)
      set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
  endforeach()
  add_library(nestlock::malloc ALIAS nestlock_malloc)
endif()
