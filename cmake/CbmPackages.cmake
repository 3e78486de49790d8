# Debian packages: cpack -G DEB in a build directory that was configured with CBM_PACKAGES (./dev package does it). One package a
# component: cbm, libcbm-client0, libcbm-core0, libcbm-client-dev, and python3-cbm where it is built.
if(NOT CBM_PACKAGES)
    return()
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME cbm)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_VENDOR cbm)
set(CPACK_PACKAGE_CONTACT "The cbm authors <cbm@cbm.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
# Debian's own debug packages are made by its tools; these are stripped.
set(CPACK_COMPONENTS_ALL broker client core dev)

# cbm_package(COMPONENT NAME SECTION TEXT): what all packages have, too: copyright and changelog
function(cbm_package component name section text)
    string(TOUPPER ${component} COMPONENT)
    set(CPACK_DEBIAN_${COMPONENT}_PACKAGE_NAME ${name} PARENT_SCOPE)
    set(CPACK_DEBIAN_${COMPONENT}_FILE_NAME DEB-DEFAULT PARENT_SCOPE)
    set(CPACK_DEBIAN_${COMPONENT}_PACKAGE_SECTION ${section} PARENT_SCOPE)
    set(CPACK_DEBIAN_${COMPONENT}_DESCRIPTION "${text}" PARENT_SCOPE)
    install(FILES ${CMAKE_SOURCE_DIR}/packaging/debian/copyright
            DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} COMPONENT ${component})
    install(FILES ${CMAKE_BINARY_DIR}/packaging/changelog.Debian.gz
            DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} COMPONENT ${component})
endfunction()

file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/packaging)
configure_file(${CMAKE_SOURCE_DIR}/packaging/debian/changelog.in ${CMAKE_BINARY_DIR}/packaging/changelog.Debian @ONLY)
execute_process(COMMAND gzip -9nkf ${CMAKE_BINARY_DIR}/packaging/changelog.Debian COMMAND_ERROR_IS_FATAL ANY)

cbm_package(broker cbm net
"A circuit breaker stops calling what is broken. With cbm the processes of a
host share their breakers: prefork workers, cron jobs and scripts stop
together after a few failures in all, and one of them probes for everybody.
.
This package holds the broker, cbmd, and cbmctl, which puts a breaker before
any command.")
cbm_package(client libcbm-client0 libs
"A circuit breaker stops calling what is broken. With cbm the processes of a
host share their breakers, which the broker cbmd owns.
.
This package holds the library by which programs use them.")
cbm_package(core libcbm-core0 libs
"A circuit breaker stops calling what is broken. libcbm-core is the engine of
the broker cbmd as a library: states, rules and rate limiter without any
input, output, thread or clock, for a program that needs no sharing.")
cbm_package(dev libcbm-client-dev libdevel
"A circuit breaker stops calling what is broken. With cbm the processes of a
host share their breakers, which the broker cbmd owns.
.
This package holds the headers, static libraries and manual pages of
libcbm-client and libcbm-core.")

set(version "${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}")
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libcbm-client0 (= ${version}), libcbm-core0 (= ${version}), ${CBM_MSGPACK_DEV}")
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_BROKER_PACKAGE_RECOMMENDS "nng-utils")
set(CPACK_DEBIAN_BROKER_PACKAGE_DEPENDS "libcbm-client0 (= ${version})")
set(control ${CMAKE_SOURCE_DIR}/packaging/debian)
set(CPACK_DEBIAN_BROKER_PACKAGE_CONTROL_EXTRA "${control}/postinst;${control}/prerm;${control}/postrm")
set(CPACK_DEBIAN_CLIENT_PACKAGE_CONTROL_EXTRA "${control}/triggers")
set(CPACK_DEBIAN_CORE_PACKAGE_CONTROL_EXTRA "${control}/triggers")

if(TARGET cbm_python)
    list(APPEND CPACK_COMPONENTS_ALL python)
    cbm_package(python python3-cbm python
"A circuit breaker stops calling what is broken. With cbm the processes of a
host share their breakers, which the broker cbmd owns.
.
This package holds the module by which Python programs use them.")
    set(CPACK_DEBIAN_PYTHON_PACKAGE_DEPENDS "python3 (>= 3.9)")
    set(CPACK_DEBIAN_PYTHON_PACKAGE_CONTROL_EXTRA "${control}/python/prerm")
endif()

include(CPack)
