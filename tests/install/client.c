#include <cbm.h>
#include <stdio.h>

static int function(void *argument)
{
    return *(int *)argument;
}

int main(void)
{
    cbm_client *client;
    int argument = 7, result = 0;

    if (cbm_open(&client, "local:", NULL) != 0)
        return 1;
    int error = cbm_call(client, "installed", function, &argument, &result);
    printf("%s: %d\n", cbm_strerror(error), result);
    cbm_close(client);
    return error == 0 && result == 7 ? 0 : 1;
}
