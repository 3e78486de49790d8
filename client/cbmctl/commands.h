/* One function a command; main.c's table gives them their names. Each returns an exit code. */
#ifndef CBMCTL_COMMANDS_H
#define CBMCTL_COMMANDS_H

#include "options.h"

typedef int command_function(const cli_command *command, cli_options *options, int argc, char **argv);

command_function command_get;
command_function command_run;
command_function command_check;
command_function command_report;
command_function command_states;
command_function command_stats;
command_function command_reset; /* reset NAME, reset-all and reset-manager */
command_function command_reset_all;
command_function command_reset_manager;
command_function command_configure;
command_function command_remove;
command_function command_force_open;
command_function command_disable;
command_function command_metrics_only;
command_function command_enable;
command_function command_reload;
command_function command_ping;
command_function command_info;
command_function command_simulate;
command_function command_text_line; /* command TEXT... */

#endif
