#include "rounds.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static bool parse(int argc, char **argv, bench_options *options)
{
    static const struct option known[] = {{"rounds", required_argument, NULL, 'r'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {"cbmd", required_argument, NULL, 'c'},
                                          {"only", required_argument, NULL, 'o'},
                                          {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'r': options->rounds = atoi(optarg); break;
        case 'q': options->quick = true; break;
        case 'c': options->cbmd = optarg; break;
        case 'o': options->only = optarg; break;
        default: return false;
        }
    }
    return optind == argc && options->rounds >= 0;
}

/* Whether another round is wanted. */
static bool asked(const bench_options *options, int done)
{
    int byte;

    if (options->rounds)
        return done < options->rounds;
    do
        byte = getchar();
    while (byte != '\n' && byte != EOF);
    return byte == '\n';
}

int bench_run(int argc, char **argv, const bench_question *question)
{
    bench_options options = {.cbmd = CBM_BENCH_CBMD};
    bool good;

    if (!parse(argc, argv, &options)) {
        fprintf(stderr, "usage: %s [--rounds N] [--quick] [--cbmd PROGRAM] [--only PART]\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    good = question->set_up(&options);
    if (good && !options.rounds) {
        puts("ready");
        fflush(stdout);
    }
    for (int done = 0; good && asked(&options, done); done++) {
        good = question->round(&options);
        if (!options.rounds)
            puts(good ? "." : "failed");
        fflush(stdout);
    }
    question->tear_down();
    return good ? 0 : 1;
}
