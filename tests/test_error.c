/* The one table of errors. */
#include <criterion/criterion.h>
#include <string.h>

#include "cbm_core.h"
#include "error.h"

static const int numbers[] = {
#define X(symbol, number, name, sentence) number,
    CBM_ERROR_TABLE(X)
#undef X
};

#define COUNT (sizeof(numbers) / sizeof(numbers[0]))

Test(error, every_number_is_found_again_by_its_name)
{
    for (size_t i = 0; i < COUNT; i++) {
        const char *name = cbm_proto_error_name(numbers[i]);

        cr_assert_eq(cbm_proto_error_number(name, strlen(name)), numbers[i], "%s", name);
    }
}

Test(error, numbers_and_names_are_unique)
{
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < i; k++) {
            cr_assert_neq(numbers[i], numbers[k]);
            cr_assert_str_neq(cbm_proto_error_name(numbers[i]), cbm_proto_error_name(numbers[k]));
        }
    }
}

Test(error, every_error_has_a_sentence_of_its_own)
{
    for (size_t i = 0; i < COUNT; i++) {
        cr_assert_gt(strlen(cbm_proto_error_sentence(numbers[i])), 10);
        for (size_t k = 0; k < i; k++)
            cr_assert_str_neq(cbm_proto_error_sentence(numbers[i]), cbm_proto_error_sentence(numbers[k]));
    }
}

Test(error, no_error_is_ok)
{
    cr_assert_str_eq(cbm_proto_error_name(0), "ok");
    cr_assert_str_eq(cbm_proto_error_sentence(0), "success");
}

Test(error, a_number_or_name_of_nobody_is_internal)
{
    cr_assert_str_eq(cbm_proto_error_name(-1000), "internal");
    cr_assert_str_eq(cbm_proto_error_name(1), "internal");
    cr_assert_eq(cbm_proto_error_number("from_the_future", 15), CBM_PROTO_E_INTERNAL);
    cr_assert_eq(cbm_proto_error_number("open_", 5), CBM_PROTO_E_INTERNAL);
    cr_assert_eq(cbm_proto_error_number("ope", 3), CBM_PROTO_E_INTERNAL);
    cr_assert_eq(cbm_proto_error_number("", 0), CBM_PROTO_E_INTERNAL);
}

Test(error, refusals_of_the_core_pass_the_wire_by_their_names)
{
    cr_assert_str_eq(cbm_proto_error_name(CBM_CORE_E_OPEN), "open");
    cr_assert_str_eq(cbm_proto_error_name(CBM_CORE_E_HALF_OPEN_FULL), "half_open_full");
    cr_assert_str_eq(cbm_proto_error_name(CBM_CORE_E_FORCED_OPEN), "forced_open");
    cr_assert_str_eq(cbm_proto_error_name(CBM_CORE_E_RATE_LIMITED), "rate_limited");
    cr_assert_str_eq(cbm_proto_error_name(CBM_CORE_E_NOT_FOUND), "not_found");
    cr_assert_str_eq(cbm_proto_error_name(CBM_CORE_E_FULL), "full");
    cr_assert_str_eq(cbm_proto_error_name(CBM_CORE_E_INVALID), "bad_request");
}
