# Runs PROGRAM, which must end with status 0 and print what matches EXPECTED.
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE output ERROR_VARIABLE errors RESULT_VARIABLE status)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "${PROGRAM} ended with ${status}:\n${output}${errors}")
endif()
if(NOT output MATCHES "${EXPECTED}")
    message(FATAL_ERROR "${PROGRAM} printed:\n${output}instead of what matches:\n${EXPECTED}")
endif()
