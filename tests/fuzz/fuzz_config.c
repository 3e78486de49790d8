/* Any bytes as a config file: what is refused is refused with a line of the file, what is taken keeps its promises. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbm_core.h"
#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static size_t lines_of(const uint8_t *data, size_t size)
{
    size_t lines = 1;

    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    return lines;
}

/* A policy of the file stands by itself and with the defaults. */
static void check_policies(const cbm_config *config)
{
    static const char *const names[] = {"a", "ha_api", "ha_critical", "na\xc3\xafve", "*", "a]b\""};
    cbm_core_policy policy;

    check(cbm_core_policy_resolve(cbm_config_defaults(config), &policy, NULL) == 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cbm_core_policy_request request = {0};

        if (cbm_config_policy(config, names[i], &request)) {
            check(cbm_config_sections(config) > 0);
            check(cbm_core_policy_resolve(&request, &policy, NULL) == 0);
            check(policy.policy_version == 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char message[512] = "";
    cbm_config *config = cbm_config_parse("f", (const char *)data, size, message, sizeof message);
    cbm_options options;
    unsigned line;

    if (config) {
        check(message[0] == '\0');
        check_policies(config);
        cbm_options_init(&options);
        cbm_config_apply(config, &options);
        check(options.max_breakers >= 1 && options.max_breakers <= CBM_BREAKERS_MAX);
        check(options.rate_limit <= CBM_RATE_LIMIT_MAX && options.rate_window_ms >= 1);
        cbm_config_free(config);
    } else {
        check(sscanf(message, "f:%u: ", &line) == 1 && line >= 1 && line <= lines_of(data, size));
        check(cbm_core_text_valid(message, strlen(message)));
    }
    return 0;
}
