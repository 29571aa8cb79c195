import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy

required_conan_version = ">=2.0"


class NestlockConan(ConanFile):
    name = "nestlock"
    version = "0.2.0"
    description = "Locks and allocators whose try calls tell the truth in every context"
    license = "Apache-2.0"
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "shared": [True, False],
        "max_cpus": ["ANY"],
        "page_shift": ["ANY"],
        "configs": ["ANY"],  # "all", or names separated by semicolons
    }
    default_options = {"shared": False, "max_cpus": "64", "page_shift": "12", "configs": "all"}

    def validate(self):
        check_min_cppstd(self, 20)

    def export_sources(self):
        top = os.path.join(self.recipe_folder, "..", "..")
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "configs/configs.bzl", "include/*", "lib/*"):
            copy(self, pattern, src=top, dst=self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["NESTLOCK_MAX_CPUS"] = str(self.options.max_cpus)
        toolchain.cache_variables["NESTLOCK_PAGE_SHIFT"] = str(self.options.page_shift)
        toolchain.cache_variables["NESTLOCK_CONFIGS"] = str(self.options.configs)
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        CMake(self).install()

    def package_info(self):
        # The files that the library installs know the targets and their definitions.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs.append(os.path.join("lib", "cmake", "nestlock"))
