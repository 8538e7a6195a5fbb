//! The built binary, as people and scripts meet it: one file a verb or theme, one harness.

mod harness;
mod story;
mod terminal;
mod tree;
mod verbs;

mod cancel;
mod compact;
mod config;
mod dlq;
mod doctor;
mod doctor_repair;
mod edit;
mod enqueue;
mod events;
mod history;
mod init;
mod list;
mod logs;
mod purge;
mod retry;
mod run;
mod show;
mod status;
mod wait;
mod worker;

mod conventions;
mod coverage;
mod hostile;
mod selectors;
mod tables;

mod scene;

mod bad_days;
mod bad_jobs;
mod container;
mod costs;
mod damage;
mod exactly_once;
mod full_disk;
mod idle;
mod kill;
mod odd_files;
mod restore;
mod retries;
mod stop;
