/* What a test leaves out under a sanitizer, because the sanitizer itself would fail. */
#ifndef CBM_TEST_SANITIZERS_H
#define CBM_TEST_SANITIZERS_H

#if defined(__SANITIZE_ADDRESS__)
#define TEST_UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_UNDER_ASAN 1
#endif
#endif
#ifndef TEST_UNDER_ASAN
#define TEST_UNDER_ASAN 0
#endif

/*
 * A fork while other threads allocate. glibc's allocator is whole in the child; AddressSanitizer's (before LLVM 17 and GCC 14) may
 * stay locked there for ever (seen).
 */
#define TEST_FORKS_AMONG_THREADS (!TEST_UNDER_ASAN)

#endif
