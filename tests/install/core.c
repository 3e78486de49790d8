#include <cbm_core.h>
#include <stdio.h>

int main(void)
{
    cbm_core_policy_request request = {0};
    cbm_core_policy policy;
    int bad_field = -1;

    int error = cbm_core_policy_resolve(&request, &policy, &bad_field);
    printf("%s: opens after %u failures\n", cbm_core_state_name(CBM_CORE_CLOSED), policy.failure_threshold);
    return error == 0 && policy.failure_threshold == 5 ? 0 : 1;
}
