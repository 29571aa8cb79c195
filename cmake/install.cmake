# Headers, libraries, and what finds them: find_package(nestlock CONFIG) and pkg-config. Everything
# installed may be moved as a whole.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/nestlock"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")

foreach(config IN LISTS nestlock_configs)
  install(TARGETS nestlock_${config} nestlock_locks_${config} nestlock_testing_${config}
          EXPORT nestlock_targets
          LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
          ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
          INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
endforeach()
if(nestlock_with_malloc)
  install(TARGETS nestlock_malloc EXPORT nestlock_targets
          ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
          INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(TARGETS nestlock_malloc_preload LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()

set(nestlock_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/nestlock")
install(EXPORT nestlock_targets NAMESPACE nestlock:: FILE nestlockTargets.cmake
        DESTINATION "${nestlock_cmake_dir}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/nestlockConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/nestlockConfig.cmake"
                              INSTALL_DESTINATION "${nestlock_cmake_dir}")
# Before 1.0 a minor version may change everything, so 0.2 does not serve who asked for 0.1.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/nestlockConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/nestlockConfig.cmake"
              "${PROJECT_BINARY_DIR}/nestlockConfigVersion.cmake"
        DESTINATION "${nestlock_cmake_dir}")

# pkg-config finds the prefix from where its file lies, unless the folders were given as absolute paths.
set(nestlock_pc_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
set(nestlock_pc_prefix "${CMAKE_INSTALL_PREFIX}")
set(nestlock_pc_includedir "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
set(nestlock_pc_libdir "${CMAKE_INSTALL_FULL_LIBDIR}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" AND NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  file(RELATIVE_PATH up "/prefix/${nestlock_pc_dir}" "/prefix")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(nestlock_pc_prefix "\${pcfiledir}/${up}")
  set(nestlock_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
  set(nestlock_pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
foreach(config IN LISTS nestlock_configs)
  foreach(kind nestlock nestlock-locks)
    configure_file("${PROJECT_SOURCE_DIR}/cmake/${kind}.pc.in"
                   "${PROJECT_BINARY_DIR}/${kind}-${config}.pc" @ONLY)
    install(FILES "${PROJECT_BINARY_DIR}/${kind}-${config}.pc" DESTINATION "${nestlock_pc_dir}")
  endforeach()
endforeach()
if(nestlock_with_malloc)
  configure_file("${PROJECT_SOURCE_DIR}/cmake/nestlock-malloc.pc.in"
                 "${PROJECT_BINARY_DIR}/nestlock-malloc.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/nestlock-malloc.pc" DESTINATION "${nestlock_pc_dir}")
endif()
