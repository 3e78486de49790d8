# The shared and the static library offer the functions of cbm.h, all of them and nothing else, and need neither jansson nor NNG.
function(run output)
    execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
    set(${output} "${text}" PARENT_SCOPE)
endfunction()

# Names of functions in a text, sorted, each once.
function(collect output text expression)
    string(REGEX MATCHALL "${expression}" found "${text}")
    list(TRANSFORM found REPLACE "${expression}" "\\1")
    list(SORT found)
    list(REMOVE_DUPLICATES found)
    set(${output} "${found}" PARENT_SCOPE)
endfunction()

function(expect_equal what found wanted)
    if(NOT "${found}" STREQUAL "${wanted}")
        message(FATAL_ERROR "${what}\n  has     ${found}\n  and not ${wanted}")
    endif()
endfunction()

file(READ ${HEADER} header)
file(READ ${MAP} map)
collect(declared "${header}" "CBM_API [^(;]*[ *](cbm_[a-z_]+)\\(")
string(REPLACE ";" "" map "${map}")
collect(mapped "${map}" " (cbm_[a-z_]+)")
expect_equal("cbm-client.map" "${mapped}" "${declared}")

run(symbols ${NM} -D --defined-only ${SHARED})
collect(exported "${symbols}" " [TDBRVW] ([A-Za-z0-9_]+)")
expect_equal("libcbm-client.so" "${exported}" "${declared}")

run(symbols ${NM} --defined-only --extern-only ${STATIC})
collect(exported "${symbols}" " [TDBRVWC] ([A-Za-z0-9_]+)")
expect_equal("libcbm-client.a" "${exported}" "${declared}")

run(dynamic ${READELF} -d ${SHARED})
if(dynamic MATCHES "jansson|libnng")
    message(FATAL_ERROR "libcbm-client.so needs what it should not:\n${dynamic}")
endif()
if(NOT dynamic MATCHES "NODELETE")
    message(FATAL_ERROR "libcbm-client.so may be unloaded")
endif()
