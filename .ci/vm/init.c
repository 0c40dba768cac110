/* The first process of a test machine: mounts what tests need, runs every program in /t, powers off. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int run(const char *name)
{
	char path[512];
	int status = 0;
	pid_t child;

	snprintf(path, sizeof path, "/t/%s", name);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		char *arguments[] = { path, NULL };
		execve(path, arguments, environ);
		perror(path);
		_exit(127);
	}
	while (waitpid(child, &status, 0) != child)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void)
{
	static const char *const mounts[][2] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" }, { "tmpfs", "/tmp" },
	};
	struct dirent **entries;
	int ran = 0, failed = 0;
	int count;

	for (unsigned i = 0; i < sizeof mounts / sizeof *mounts; i++) {
		mkdir(mounts[i][1], 0755);
		mount(mounts[i][0], mounts[i][1], mounts[i][0], 0, NULL);
	}
	count = scandir("/t", &entries, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] == '.')
			continue;
		int status = run(entries[i]->d_name);
		printf("GUEST %s: status %d\n", entries[i]->d_name, status);
		ran++;
		failed += status != 0;
	}
	printf("%s: %d ran, %d failed\n", ran && !failed ? "GUEST-OK" : "GUEST-BAD", ran, failed);
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	return 0;
}
