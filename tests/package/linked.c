/* What test_package.sh links against the installed development package. */
#include <cbm.h>
#include <stdio.h>

int main(void)
{
    cbm_client *client;
    cbm_breaker *breaker;
    cbm_permit permit;
    int error = cbm_open(&client, NULL, NULL);

    if (error == 0)
        error = cbm_get(client, "packaged", NULL, &breaker);
    if (error != 0) {
        fprintf(stderr, "%s\n", cbm_strerror(error));
        return 1;
    }
    error = cbm_call_begin(breaker, &permit);
    printf("%s: %d %s\n", cbm_breaker_name(breaker), error == CBM_E_OPEN ? 75 : error, cbm_error_name(error));
    cbm_close(client);
    return 0;
}
