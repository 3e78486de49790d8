# Links OBJECTS and what they need of ARCHIVES into one relocatable object, and makes all symbols local that MAP does not list.
file(STRINGS ${MAP} lines REGEX "^ +cbm_[a-z_]+;$")
set(keep)
foreach(line IN LISTS lines)
    string(REGEX MATCH "cbm_[a-z_]+" symbol "${line}")
    list(APPEND keep --keep-global-symbol=${symbol})
endforeach()
execute_process(COMMAND ${LINKER} -r -o ${OUTPUT} ${OBJECTS} ${ARCHIVES} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${OBJCOPY} ${keep} ${OUTPUT} COMMAND_ERROR_IS_FATAL ANY)
