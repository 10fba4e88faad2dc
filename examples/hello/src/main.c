#include "greeting.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_FAILED = 1, STATUS_USAGE = 2 };

static const char usage[] =
	"Usage: greeting [OPTION]...\n"
	"Greet somebody.\n"
	"\n"
	"  -n, --name=NAME          whom to greet (default: World)\n"
	"  -l, --language=LANGUAGE  in which language (default: en)\n"
	"      --list               print the languages and end\n"
	"      --help               print this help and end\n"
	"      --version            print the version and end\n";

static const struct option options[] = {
	{ "name", required_argument, NULL, 'n' },
	{ "language", required_argument, NULL, 'l' },
	{ "list", no_argument, NULL, 'L' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

/* What was printed counts only once it has arrived: a full disk shows when the stream is closed. */
static int finish(void)
{
	if (fclose(stdout) == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "greeting: cannot write: %s\n", strerror(errno));
	return STATUS_FAILED;
}

static int greet(const char *language, const char *name)
{
	const struct greeting *greeting = greeting_find(language);
	int length;
	char *text;

	if (!greeting) {
		fprintf(stderr, "greeting: no greeting in '%s'; see greeting --list\n", language);
		return STATUS_USAGE;
	}
	length = greeting_format(NULL, 0, greeting, name);
	text = length < 0 ? NULL : malloc((size_t)length + 1);
	if (!text) {
		fprintf(stderr, "greeting: cannot greet: %s\n", strerror(errno));
		return STATUS_FAILED;
	}
	greeting_format(text, (size_t)length + 1, greeting, name);
	puts(text);
	free(text);
	return finish();
}

int main(int argc, char **argv)
{
	const char *language = "en";
	const char *name = "World";
	int option;

	while ((option = getopt_long(argc, argv, "n:l:", options, NULL)) != -1) {
		switch (option) {
		case 'n':
			name = optarg;
			break;
		case 'l':
			language = optarg;
			break;
		case 'L':
			for (const struct greeting *one = greetings; one->language; one++)
				puts(one->language);
			return finish();
		case 'h':
			fputs(usage, stdout);
			return finish();
		case 'V':
			puts("greeting " VERSION);
			return finish();
		default: /* getopt has said what is wrong */
			return STATUS_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "greeting: what is '%s' for? see greeting --help\n", argv[optind]);
		return STATUS_USAGE;
	}
	return greet(language, name);
}
