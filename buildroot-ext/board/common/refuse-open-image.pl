#!/usr/bin/env perl
#
# Refuses an image that a botnet could log in to: a telnet server, a root
# account without a password, or an account with a well-known one.
#
# BR2_ROOTFS_POST_FAKEROOT_SCRIPT runs it on the finished tree, as does
# OpenWrt's package lenscap-closed-image:
#	refuse-open-image.pl TARGET_DIR [ignored...]
#
# Where lenscap is built for this machine too (BR2_PACKAGE_LENSCAP_CHECK_IMAGE),
# or LENSCAP_HOST names one, `lenscap harden --root` is asked as well.
#
# Written for perl, which every host of both has, and whose crypt() knows the
# schemes that the host's libcrypt knows. What it cannot judge it refuses.

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Find ();

my $TELNETD = qr/^(?:in\.|u|dropbear-)?telnetd$/;

# Who starts programs: BusyBox init, System V, inetd, systemd.
my @STARTERS = qw(
	etc/inittab etc/inetd.conf etc/rc.local etc/rc.d etc/init.d etc/inet.d
	etc/xinetd.d etc/default etc/systemd/system usr/lib/systemd/system
);

my $target = shift @ARGV;
die "usage: $0 TARGET_DIR\n" unless defined $target && -d $target;
# File::Find would not go into a link.
$target = abs_path($target);

my @problems = (telnet_servers(), telnet_starters(), accounts(), what_hardening_would_do());
exit 0 unless @problems;

print STDERR "lenscap: this image must not be shipped:\n";
print STDERR "lenscap:   $_\n" for @problems;
exit 1;

sub telnet_servers {
	my @found;
	File::Find::find({ no_chdir => 1, wanted => sub {
		my $path = $File::Find::name;
		my ($name) = $path =~ m{([^/]*)$};
		my $shown = shown($path);
		my $is_link = -l $path;
		return unless $is_link || -f _;
		if ($name =~ $TELNETD || ($name =~ /telnetd/i && ($is_link || (lstat _)[2] & 0111))) {
			push @found, "$shown is a telnet server: leave it out";
		} elsif (!$is_link && has_telnetd_applet($name, $path)) {
			push @found, "$shown can be a telnet server: set CONFIG_TELNETD=n in BusyBox";
		}
	} }, $target);
	return sort @found;
}

# Changes nothing. What it would change, or cannot tell, is a reason.
sub what_hardening_would_do {
	die "lenscap: LENSCAP_HOST=$ENV{LENSCAP_HOST} is no program\n" if $ENV{LENSCAP_HOST} && !-x $ENV{LENSCAP_HOST};
	my ($program) = grep { defined && -x } $ENV{LENSCAP_HOST}, ($ENV{HOST_DIR} // '') . '/bin/lenscap';
	return () unless defined $program;
	my @found;
	for my $measure (qw(telnet credentials)) {
		open my $said, '-|', $program, 'harden', '--root', $target, '--dry-run', '--only', $measure
			or die "lenscap: $program: $!\n";
		my @open = grep { /^$measure\s+(?:planned|fails|unknown)\s/ } <$said>;
		chomp @open;
		next if close $said;
		push @found, @open ? map({ "lenscap harden: $_" } @open) : "lenscap harden gives no answer ($?)";
	}
	return @found;
}

# BusyBox goes by any name; what it can do is in its list of applets.
sub has_telnetd_applet {
	my ($name, $path) = @_;
	open my $stream, '<:raw', $path or die "lenscap: $path: $!\n";
	read $stream, my $magic, 4;
	return 0 unless $name =~ /^busybox/ || ($magic // '') eq "\x7fELF";
	my $text = slurp($path);
	return $text =~ /\0telnetd\0/ && ($name =~ /^busybox/ || $text =~ /BusyBox v\d|toybox/);
}

sub telnet_starters {
	my %files;
	for my $starter (map { resolve($_) } @STARTERS) {
		next unless defined $starter && -e $starter;
		File::Find::find({ no_chdir => 1, wanted => sub {
			my $file = resolve(substr $File::Find::name, length $target);
			$files{$file} = 1 if defined $file && -f $file;
		} }, $starter);
	}
	my @found;
	for my $file (sort keys %files) {
		my $number = 0;
		for my $line (split /\n/, slurp($file)) {
			$number++;
			next if $line =~ /^\s*[#;]/;
			# Ending one is no start.
			$line =~ s/\b(?:killall|pkill)(?:\s+-\S+)*\s+telnetd\b//g;
			next if $line =~ /\bstart-stop-daemon\b.*\s(?:-K|--stop)\b/ && $line !~ /[;&|]/;
			push @found, shown($file) . " line $number starts a telnet server"
				if $line =~ /telnetd\b|\bTELNETD?=['"]?(?:yes|true|1)\b/i;
			# nc has a listener and a program to run behind it.
			push @found, shown($file) . " line $number gives a shell to whoever connects"
				if $line =~ /\b(?:nc|netcat|ncat)\b.*\s-\w*l.*\s(?:-\w*e|--exec|--sh-exec)\s*\S*\b(?:sh|ash|bash|login)\b/;
		}
	}
	return @found;
}

# Every line counts, in both files: programs differ in which of two lines they take, and in whether they look into
# shadow when passwd says something else than `x`.
sub accounts {
	my @missing = grep { -l "$target/$_" && !-e (resolve($_) // '') } qw(etc/passwd etc/shadow);
	return map { "/$_ is a link to what is not in the image, so it cannot be judged" } @missing if @missing;
	my @passwd = fields('etc/passwd');
	return "/etc/passwd is missing or empty, so there is nothing to judge" unless @passwd;
	my @known = known_passwords();
	my %found;
	for my $line ((grep { $_->[1] ne 'x' } @passwd), fields('etc/shadow')) {
		$found{$_} = 1 for judge(@$line, @known);
	}
	return sort keys %found;
}

sub judge {
	my ($user, $hash, @known) = @_;
	return "$user has an empty password: set one of its own for each device, or lock the account"
		if $hash eq '';
	# Locked, for good or by `passwd -l`: `!` before a hash makes it match nothing. OpenWrt writes `x` for a service's
	# account, which no crypt() returns either.
	return () if $hash =~ /^[*!]/ || $hash eq 'x';
	return "the password of $user has a hash of an unknown kind"
		unless $hash =~ m{^\$[0-9a-zA-Z]+\$} || $hash =~ m{^[./0-9A-Za-z]{13}$};
	for my $password (@known, $user, '') {
		my $computed = crypt($password, $hash);
		return "the password of $user cannot be judged: this host's crypt() does not know its kind of hash"
			if !defined $computed || $computed =~ /^\*/ || length $computed != length $hash;
		next if $computed ne $hash;
		return "$user has an empty password, hashed" if $password eq '';
		return "$user has a well-known password ('$password'): botnets try it first";
	}
	return ();
}

# Name and second field of each line of a file in the form of passwd.
sub fields {
	my $file = resolve($_[0]);
	return () unless defined $file && -e $file;
	my @fields;
	for my $line (split /\n/, slurp($file)) {
		my ($name, $field) = split /:/, $line;
		push @fields, [$name, $field // ''] if defined $name && $name =~ /\S/;
	}
	return @fields;
}

# Where a path of the image lies here, its links followed as the camera will: an absolute one starts at the image's
# root. Nothing for links without an end.
sub resolve {
	my @left = split m{/+}, $_[0];
	my @real;
	my $links = 0;
	while (@left) {
		my $part = shift @left;
		next if $part eq '' || $part eq '.';
		if ($part eq '..') {
			pop @real;
			next;
		}
		my $link = readlink join '/', $target, @real, $part;
		if (defined $link) {
			return undef if ++$links > 40;
			@real = () if $link =~ m{^/};
			unshift @left, split m{/+}, $link;
		} else {
			push @real, $part;
		}
	}
	return join '/', $target, @real;
}

sub known_passwords {
	my $file = dirname(__FILE__) . '/default-credentials.csv';
	my ($head, @lines) = split /\r?\n/, slurp($file);
	die "lenscap: $file: expected the columns user,password\n" unless $head =~ /^user,password\b/;
	my %seen;
	return grep { length && !$seen{$_}++ } map { (split /,/)[1] // '' } @lines;
}

sub shown {
	my ($path) = @_;
	return substr($path, length $target);
}

sub slurp {
	my ($file) = @_;
	open my $stream, '<:raw', $file or die "lenscap: $file: $!\n";
	local $/;
	my $text = <$stream>;
	return $text // '';
}
