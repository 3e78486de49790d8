# What Debian 12 and 13 offer. msgpack-c's C library is `msgpack`/`msgpackc` in its 4.0, `msgpack-c` from 5.0 on: both end up
# as the target cbm::msgpack.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nng REQUIRED CONFIG)

find_package(msgpack-c CONFIG QUIET)
if(TARGET msgpack-c)
    set(CBM_MSGPACK_TARGET msgpack-c)
    set(CBM_MSGPACK_LIBRARY -lmsgpack-c)
else()
    find_package(msgpack REQUIRED CONFIG)
    set(CBM_MSGPACK_TARGET msgpackc)
    set(CBM_MSGPACK_LIBRARY -lmsgpackc)
endif()
add_library(cbm_msgpack INTERFACE)
add_library(cbm::msgpack ALIAS cbm_msgpack)
target_link_libraries(cbm_msgpack INTERFACE ${CBM_MSGPACK_TARGET})

pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
find_path(CBM_UTHASH_INCLUDE uthash.h REQUIRED)
if(CBM_TESTS)
    pkg_check_modules(CRITERION REQUIRED IMPORTED_TARGET criterion)
endif()
