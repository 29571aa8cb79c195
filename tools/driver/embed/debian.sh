# a Debian package, built, unpacked into a fresh root and tried by its own test

things_debian="dpkg-buildpackage=dpkg-dev dh=debhelper cmake=cmake ninja=ninja-build g++=g++
  pkg-config=pkg-config"

embed_debian() {
  mkdir "$work/debian" && cp -R "$work/nestlock" "$work/debian/nestlock" &&
    cp -R "$work/debian/nestlock/packaging/debian" "$work/debian/nestlock/debian" || return
  step "the package is built" debian_build
  step "it is unpacked into a fresh root" debian_unpack
  step "its own test" debian_test
}
# One configuration: all eight are built in the same way.
debian_build() {
  (
    cd "$work/debian/nestlock" &&
      NESTLOCK_CONFIGS=up DEB_BUILD_OPTIONS="nocheck noopt parallel=$(nproc)" \
        quietly dpkg-buildpackage -us -uc -b
  )
}
debian_unpack() {
  local root="$work/debian/root" packages=("$work"/debian/libnestlock-dev_*.deb)
  dpkg-deb -x "${packages[0]}" "$root" && [ -f "$root/usr/include/nestlock/version.h" ] || return
  # The test below must not find anything but what was unpacked.
  mv "$work/debian/nestlock/include" "$work/debian/nestlock/lib" "$work/debian/"
}
debian_test() {
  (
    cd "$work/debian/nestlock" &&
      ROOT="$work/debian/root" prints $'1 counted, 1 refused\nup: 2 added, 1 refused, 112 bytes' \
        debian/tests/readme
  )
}
