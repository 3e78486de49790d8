# The documents that are installed. In the tree they point to each other by its folders; installed, by where they are then. What a
# link of theirs points to and is not installed is left as plain text; tests/install looks whether all others lead somewhere.

# A package has its license in a file of its distribution's own form.
if(CBM_PACKAGES)
    set(license copyright)
else()
    set(license LICENSE)
    install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT broker)
endif()

# in the tree, and below the directory of installed documents
set(in_tree BENCHMARKS.md CHANGELOG.md README.md SECURITY.md bindings/python/README.md proto/PROTOCOL.md contrib/cbm.conf LICENSE)
set(installed BENCHMARKS.md CHANGELOG.md README.md SECURITY.md README.python.md PROTOCOL.md examples/cbm.conf ${license})

# cbm_install_document(SOURCE NAME)
function(cbm_install_document source name)
    file(READ ${CMAKE_SOURCE_DIR}/${source} text)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${source})
    foreach(old new IN ZIP_LISTS in_tree installed)
        string(REPLACE "[${old}](${old})" "[${new}](${old})" text "${text}")
        string(REPLACE "](${old})" "](installed:${new})" text "${text}")
    endforeach()
    string(REGEX REPLACE "\\[([^]\n]*)\\]\\([^):#\n]+\\)" "\\1" text "${text}")
    string(REPLACE "](installed:" "](" text "${text}")
    file(WRITE ${CMAKE_BINARY_DIR}/documents/${name} "${text}")
    install(FILES ${CMAKE_BINARY_DIR}/documents/${name} DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT broker)
endfunction()

foreach(source name IN ZIP_LISTS in_tree installed)
    if(name MATCHES "\\.md$")
        cbm_install_document(${source} ${name})
    endif()
endforeach()
install(FILES ${CMAKE_SOURCE_DIR}/contrib/cbm.conf DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT broker)
