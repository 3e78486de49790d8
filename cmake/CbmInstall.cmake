# What programs that use cbm find it by. Targets and headers are installed in their own folders, into the export set cbmTargets.
include(CMakePackageConfigHelpers)

# An absolute CMAKE_INSTALL_LIBDIR (some distributions give one) must not be put behind the prefix.
foreach(directory LIBDIR INCLUDEDIR)
    if(IS_ABSOLUTE "${CMAKE_INSTALL_${directory}}")
        set(CBM_PC_${directory} "${CMAKE_INSTALL_${directory}}")
    else()
        set(CBM_PC_${directory} "\${prefix}/${CMAKE_INSTALL_${directory}}")
    endif()
endforeach()
# Found from where the .pc file lies, so that `cmake --install --prefix` and a moved tree need no other one.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(CBM_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
else()
    file(RELATIVE_PATH CBM_PC_UP "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    string(REGEX REPLACE "/$" "" CBM_PC_UP "${CBM_PC_UP}")
    set(CBM_PC_PREFIX "\${pcfiledir}/${CBM_PC_UP}")
endif()
foreach(library client core)
    configure_file(${CMAKE_CURRENT_LIST_DIR}/cbm-${library}.pc.in ${CMAKE_BINARY_DIR}/cbm-${library}.pc @ONLY)
    install(FILES ${CMAKE_BINARY_DIR}/cbm-${library}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
            COMPONENT dev)
endforeach()

set(CBM_PACKAGE_DIRECTORY ${CMAKE_INSTALL_LIBDIR}/cmake/cbm)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/cbmConfig.cmake.in ${CMAKE_BINARY_DIR}/cbmConfig.cmake
                              INSTALL_DESTINATION ${CBM_PACKAGE_DIRECTORY})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/cbmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/cbmConfig.cmake ${CMAKE_BINARY_DIR}/cbmConfigVersion.cmake
        DESTINATION ${CBM_PACKAGE_DIRECTORY} COMPONENT dev)
if(TARGET cbm_core AND TARGET cbm_client)
    install(EXPORT cbmTargets NAMESPACE cbm:: DESTINATION ${CBM_PACKAGE_DIRECTORY} COMPONENT dev)
endif()

install(FILES ${CMAKE_SOURCE_DIR}/contrib/sysusers.d/cbm.conf DESTINATION lib/sysusers.d COMPONENT broker)
install(FILES contrib/cbmd.service DESTINATION lib/systemd/system COMPONENT broker)
